from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.unit.serverless.google_lab import function

from triplane.core.errors import InputError
from triplane.serverless.google import cloud_functions_body as body
from triplane.serverless.target import Desired, Observed

CODE, CONFIG = "sha256:" + "0f" * 32, "sha256:" + "ff" * 32


@pytest.mark.parametrize("digest", [CODE, CONFIG, "sha256:" + "0" * 64])
def test_a_digest_fits_into_a_label(digest: str) -> None:
    label = body.packed(digest)
    assert re.fullmatch(r"[a-z0-9_-]{1,63}", label)
    assert body.unpacked(label) == digest


@pytest.mark.parametrize("label", [None, "", "webhook", "a" * 51])
def test_a_label_of_others_is_no_digest(label: str | None) -> None:
    assert body.unpacked(label) is None


def test_only_a_sha256_is_packed() -> None:
    with pytest.raises(InputError, match="not a SHA-256"):
        body.packed("sha1:abc")


def marked(latest: str, previous: Observed | None) -> dict[str, object]:
    made = body.function_body(replace(ASKED, attempt="0123456789abcdef"), "p", previous)
    made["serviceConfig"]["revision"] = f"projects/p/locations/l/services/w/revisions/{latest}"
    return made


BEFORE = Observed(version="w-1", artifact=CODE, config=CONFIG)
ASKED = function(b"zip")


@pytest.mark.parametrize(
    ("latest", "previous", "revision", "found"),
    [
        ("w-1", None, "w-1", (ASKED.artifact, ASKED.config)),
        ("w-2", BEFORE, "w-2", (ASKED.artifact, ASKED.config)),
        ("w-2", BEFORE, "w-1", (CODE, CONFIG)),
        ("w-1", BEFORE, "w-1", (CODE, CONFIG)),
        ("w-2", BEFORE, "w-0", (None, None)),
        ("w-2", Observed(version="w-1=90,w-0=10", artifact=CODE), "w-1", (CODE, None)),
        ("", None, "", (None, None)),
    ],
)
def test_what_a_revision_was_made_from(
    latest: str, previous: Observed | None, revision: str, found: tuple[str | None, str | None]
) -> None:
    assert body.made_from(marked(latest, previous), revision) == found


@pytest.mark.parametrize(("runtime", "known"), [("python312", True), ("python313", False)])
def test_what_served_before_a_build_that_failed(runtime: str, known: bool) -> None:
    """Only labels tell how that was built: as the last update was, or nobody knows."""
    digest = f"sha256:{'a' * 64}"
    options = {"runtime": "python312", "entry_point": "hook", "build_service_account": None}
    before = Observed(version="w-1", artifact=digest, config=digest, options=options)
    wanted = Desired(
        name="w", artifact=digest, config=digest, package=b"x", attempt="a" * 16,
        options={"runtime": runtime, "entry_point": "hook"},
    )  # fmt: skip
    function = body.function_body(wanted, "p", before)
    assert body.build_options(function, "w-1") == (options if known else {})
    assert body.build_options(function, "w-0") == {}
