"""Bases, logins, repositories and pushes that are cut off, against the sandbox's registries."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.e2e.test_images import REGISTRIES, build, context, environ, push, served, storage, wait_for
from triplane.clouds import registry_login
from triplane.core.digest import digest
from triplane.images.fetch_operator import ImageFetchOperator
from triplane.images.login import Login
from triplane.images.parity import RegistryParityOperator
from triplane.images.reference import Reference
from triplane.images.registries import Registry
from triplane.sandbox.runtime import Sandbox

__all__ = ["context", "environ", "storage"]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def hub(sandbox: Sandbox, method: str, path: str, data: bytes | None = None, content_type: str = "") -> Any:
    """A request to the registry that stands in for Docker Hub, past its gate."""
    url = path if path.startswith("http") else f"http://127.0.0.1:{sandbox.port('registry-docker-io')}{path}"
    headers = {"Content-Type": content_type} if content_type else {}
    request = urllib.request.Request(url, data, headers, method=method)
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)


def publish(sandbox: Sandbox, name: str, tag: str, note: str) -> str:
    """An image without layers at Docker Hub; another ``note`` is another digest."""
    image: dict[str, Any] = {"architecture": "amd64", "os": "linux", "config": {"Env": [f"NOTE={note}"]}}
    image["history"] = [{"created_by": f"ENV NOTE={note}", "empty_layer": True}]
    config = json.dumps({**image, "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    location = hub(sandbox, "POST", f"/v2/{name}/blobs/uploads/", b"").headers["Location"]
    if not location.startswith("http"):
        location = f"http://127.0.0.1:{sandbox.port('registry-docker-io')}{location}"
    hub(sandbox, "PUT", f"{location}&digest={digest(config)}", config, "application/octet-stream")
    described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config)}
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {**described, "size": len(config)},
            "layers": [],
        }
    ).encode()
    hub(sandbox, "PUT", f"/v2/{name}/manifests/{tag}", manifest, MANIFEST)
    return digest(manifest)


def test_a_moved_base_tag_is_another_key(
    sandbox: Sandbox, environ: dict[str, str], context: Path, storage: Path, tmp_path: Path
) -> None:
    name = f"library/{tmp_path.name.replace('_', '-')}"
    (context / "Dockerfile").write_text(f"ARG TAG=1\nFROM {name}:$TAG\nCOPY page /page\n")
    publish(sandbox, name, "1", "first")
    first = build(context, storage)
    assert build(context, storage) == first
    publish(sandbox, name, "1", "second")
    second = build(context, storage)
    assert second["key"] != first["key"]
    assert second["digest"] != first["digest"]


def test_without_network_the_base_is_what_it_was(
    environ: dict[str, str],
    context: Path,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = build(context, storage)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert build(context, storage) == first
    assert "could not be looked up" in capsys.readouterr().out
    (context / "Dockerfile").write_text("FROM docker.io/library/busybox:never-seen\n")
    with pytest.raises(Exception, match="could not be looked up") as error:
        build(context, storage)
    assert not isinstance(error.value, AirflowFailException)


def test_an_image_that_is_known_is_not_built(environ: dict[str, str], context: Path, storage: Path) -> None:
    first = build(context, storage)
    (context / "page").write_text("another")
    assert build(context, storage, known={"page": first["digest"]})["digest"] == first["digest"]
    gone = "sha256:" + "0" * 64
    assert build(context, storage, known={"page": gone})["digest"] not in (gone, first["digest"])


def test_an_image_of_others_is_taken_by_its_digest(
    sandbox: Sandbox, environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(digest: str) -> dict[str, str]:
        operator = ImageFetchOperator(task_id="f", image="others", reference=f"{name}:1", digest=digest)
        return operator.execute({})  # type: ignore[arg-type]

    name = f"library/{tmp_path.name.replace('_', '-')}"
    first = publish(sandbox, name, "1", "first")
    publish(sandbox, name, "1", "second")
    assert fetch(first)["digest"] == first
    assert "stays as it is pinned" in capsys.readouterr().out
    assert fetch(first)["digest"] == first
    assert "is in the store already" in capsys.readouterr().out
    push("azure", first, image="others")
    assert served(sandbox, "azure", "others", first) == first
    with pytest.raises(AirflowFailException, match="has no image sha256:0000"):
        fetch("sha256:" + "0" * 64)


def test_labels_say_where_an_image_comes_from(
    environ: dict[str, str], context: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*args: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        command = ["git", "-C", str(tmp_path), *identity, *args]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=dates).stdout.strip()

    dates = os.environ | {"GIT_AUTHOR_DATE": "1700000000 +0100", "GIT_COMMITTER_DATE": "1700000000 +0100"}
    git("init", "-q")
    git("remote", "add", "origin", "https://bot:hunter2@git.example.com/shop/platform.git")
    git("add", "context")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    (tmp_path / "other").write_text("x")
    git("add", "other")
    git("commit", "-qm", "elsewhere")
    monkeypatch.chdir(tmp_path)
    built = build(Path("context"), storage, folder=str(tmp_path), revision="HEAD")
    found = image_config(built["digest"], tmp_path / "layout")["Labels"]
    assert found == {
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.source": "https://git.example.com/shop/platform",
    }


def image_config(image: str, layout: Path) -> Any:
    """What the image says of itself."""
    from triplane import settings
    from triplane.images.layout import restore

    restore(image, settings.artifact_store(), layout)
    command = ["skopeo", "inspect", "--config", f"oci:{layout}"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["config"]


def test_a_login_that_expires_during_a_push_is_renewed(
    sandbox: Sandbox, environ: dict[str, str], context: Path, storage: Path, tmp_path: Path
) -> None:
    from triplane import settings
    from triplane.images.layout import restore

    image = build(context, storage)["digest"]
    host, conn_id = REGISTRIES["azure"]
    user, good = registry_login("azure", conn_id, host)
    passwords = ["expired", good]
    login = Login(tmp_path / "auth.json", host, lambda: (user, passwords.pop(0)), lifetime=3600)
    login.fresh_seconds = 0
    layout = tmp_path / "layout"
    restore(image, settings.artifact_store(), layout)
    lines: list[str] = []
    tagged = Reference.of(host, "renewed").tagged("1")
    Registry(login).push(layout, tagged, lines.append)
    assert not passwords
    assert served(sandbox, "azure", "renewed", "1") == image


def test_a_missing_repository_is_created_only_if_asked(
    sandbox: Sandbox, environ: dict[str, str], context: Path, storage: Path, tmp_path: Path
) -> None:
    from triplane.clouds import aws

    image = build(context, storage)["digest"]
    name = f"made-{image[7:19]}{os.getpid()}"
    with pytest.raises(AirflowFailException, match=f"has no repository {name}: create it"):
        push("aws", image, image=name, create=None)
    push("aws", image, image=name, create={"immutable_tags": True, "scan_on_push": True})
    client = aws.client("ecr", "aws_default", "eu-west-1")
    (found,) = client.describe_repositories(repositoryNames=[name])["repositories"]
    assert found["imageTagMutability"] == "IMMUTABLE"
    assert found["imageScanningConfiguration"] == {"scanOnPush": True}


def test_a_repository_of_artifact_registry_is_created(
    sandbox: Sandbox, environ: dict[str, str], context: Path, storage: Path, tmp_path: Path
) -> None:
    from google.auth.transport.requests import AuthorizedSession

    from triplane.clouds import gcp

    image = build(context, storage)["digest"]
    name = f"made-{image[7:19]}{os.getpid()}"
    registry = f"europe-west1-docker.pkg.dev/triplane-sandbox/{name}"
    push("gcp", image, registry=registry, create={"immutable_tags": True})
    place = f"projects/triplane-sandbox/locations/europe-west1/repositories/{name}"
    url = f"https://artifactregistry.googleapis.com/v1/{place}"
    with AuthorizedSession(gcp.credentials("google_cloud_default")) as session:
        found = session.get(url, timeout=30).json()
    assert found["format"] == "DOCKER"
    assert found["dockerConfig"] == {"immutableTags": True}


def test_the_registries_are_compared_before_anything_is_applied(
    environ: dict[str, str], context: Path, storage: Path
) -> None:
    image = build(context, storage)["digest"]
    name = f"compared-{os.getpid()}"
    clouds = ("gcp", "azure")
    operator = RegistryParityOperator(
        task_id="parity",
        digests={name: image},
        registries={
            cloud: dict(zip(("registry", "conn_id"), REGISTRIES[cloud], strict=True), images=[name])
            for cloud in clouds
        },
    )
    push("azure", image, image=name)
    with pytest.raises(AirflowFailException, match=f"gcp has {name} not at all, not as {image}"):
        operator.execute({})  # type: ignore[arg-type]
    push("gcp", image, image=name)
    assert operator.execute({}) == {name: image}  # type: ignore[arg-type]


def test_a_base_in_a_registry_of_the_platform(
    environ: dict[str, str], context: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = build(context, storage)["digest"]
    push("azure", image, image="base", tag="1")
    host, conn_id = REGISTRIES["azure"]
    (context / "Dockerfile").write_text(f"FROM {host}/base:1\nRUN echo more > /more\n")
    with pytest.raises(AirflowFailException, match="retrieve auth token"):
        build(context, storage)
    capsys.readouterr()
    built = build(context, storage, logins={host: {"cloud": "azure", "conn_id": conn_id}})
    assert built["digest"] != image
    assert f"{host}/base:1 is {image}" in capsys.readouterr().out


SYFT = """#!/bin/sh
# Stands in for syft 1.x: takes what its command line documents, and nothing else.
[ "$1" = scan ] && [ "$3 $4 $5" = "--quiet --output cyclonedx-json" ] && [ $# = 5 ] || exit 2
folder="${2#oci-dir:}"
[ "$folder" != "$2" ] && [ -f "$folder/index.json" ] && [ -f "$folder/oci-layout" ] || exit 3
cat /proc/sys/kernel/random/uuid | sed 's/.*/{"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": "urn:uuid:&"}/'
"""


def test_an_sbom_is_attached_once(
    sandbox: Sandbox,
    environ: dict[str, str],
    context: Path,
    storage: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from triplane import settings
    from triplane.images import sbom

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/syft").write_text(SYFT)
    (tmp_path / "bin/syft").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    image = build(context, storage)["digest"]
    push("azure", image, image="described")
    blobs = sbom.referrer(image, settings.artifact_store())
    assert blobs is not None
    name, manifest = next(iter(blobs.items()))
    assert served(sandbox, "azure", "described", name) == name
    value = json.loads(manifest)
    assert value["artifactType"] == "application/vnd.cyclonedx+json"
    assert value["subject"]["digest"] == image
    assert json.loads(blobs[value["layers"][0]["digest"]])["bomFormat"] == "CycloneDX"
    capsys.readouterr()
    push("azure", image, image="described")
    assert "Attached" not in capsys.readouterr().out


def test_a_push_that_is_killed_ends_green_and_leaves_no_half_tag(
    sandbox: Sandbox, environ: dict[str, str], context: Path, storage: Path
) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY page /page\n")
    (context / "page").write_bytes(os.urandom(60_000_000))
    image = build(context, storage)["digest"]
    tag = f"sha256-{image[7:23]}"
    registry, conn_id = REGISTRIES["azure"]
    code = (
        "from triplane.images.operators import ImagePushOperator as P\n"
        f"P(task_id='p', image='killed', digest={image!r}, registry={registry!r}, cloud='azure', "
        f"conn_id={conn_id!r}).execute({{}})"
    )
    task = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: copying(f"killed@{image}"))
    finally:
        task.send_signal(signal.SIGKILL)
        task.wait()
    assert served(sandbox, "azure", "killed", tag) is None
    push("azure", image, image="killed")
    assert served(sandbox, "azure", "killed", tag) == image
    assert served(sandbox, "azure", "killed", image) == image


def copying(to: str) -> bool:
    """Whether a skopeo that copies to ``to`` runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[:2] == ["skopeo", "copy"] and any(word.endswith(to) for word in words):
            return True
    return False
