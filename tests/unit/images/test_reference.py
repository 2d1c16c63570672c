from __future__ import annotations

import pytest

from triplane.core.errors import InputError
from triplane.images.reference import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("busybox", "docker.io", "library/busybox", None, None),
        ("busybox:1.36", "docker.io", "library/busybox", "1.36", None),
        ("grafana/loki", "docker.io", "grafana/loki", None, None),
        ("docker.io/library/busybox:1.36", "docker.io", "library/busybox", "1.36", None),
        ("localhost/a", "localhost", "a", None, None),
        ("localhost:5000/a:b", "localhost:5000", "a", "b", None),
        ("registry:5000/a", "registry:5000", "a", None, None),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000", "a/b/c", None, None),
        (f"streaming.azurecr.io/ingest@{DIGEST}", "streaming.azurecr.io", "ingest", None, DIGEST),
        (f"x.io/a:t@{DIGEST}", "x.io", "a", "t", DIGEST),
        ("x.io/a__b/c-d.e", "x.io", "a__b/c-d.e", None, None),
    ],
)
def test_parse(text: str, registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    reference = Reference.parse(text)
    assert (reference.registry, reference.repository) == (registry, repository)
    assert (reference.tag, reference.digest) == (tag, digest)
    assert Reference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    "text", ["", "UPPER/case", "x.io/", "a:", "a@sha256:12", "a b", "-a", "x.io/a@md5:1", "a/../b"]
)
def test_not_a_reference(text: str) -> None:
    with pytest.raises(InputError, match="not an image reference"):
        Reference.parse(text)


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        ("streaming.azurecr.io", "streaming.azurecr.io/ingest"),
        ("europe-west1-docker.pkg.dev/p/r", "europe-west1-docker.pkg.dev/p/r/ingest"),
        ("localhost:5000/", "localhost:5000/ingest"),
    ],
)
def test_an_image_in_a_registry(registry: str, name: str) -> None:
    reference = Reference.of(registry, "ingest")
    assert str(reference.at(DIGEST)) == f"{name}@{DIGEST}"
    assert str(reference.at(DIGEST).tagged("v1")) == f"{name}:v1"
