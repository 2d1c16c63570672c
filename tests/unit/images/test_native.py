from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from triplane.core.errors import InputError, RefusedError, TransientError
from triplane.images.builders import BuildRequest, choose
from triplane.images.builders.codebuild import buildspec
from triplane.images.builders.native import (
    archive,
    docker_args,
    lines,
    object_name,
    one_platform,
    tag,
    untaken,
    zipped,
)
from triplane.images.context import build_key, stage
from triplane.images.fetch import fetch_args
from triplane.images.reference import Reference
from triplane.images.services import CLOUD_OF, SERVICES, connect, target, translated
from triplane.images.triggers import ImageBuildTrigger

KEY = "sha256:" + "ab" * 32
TARGET = Reference.parse("r.io/a/page:build-1")


def context(path: Path) -> Path:
    path.mkdir()
    (path / "Dockerfile").write_text("FROM scratch\n")
    (path / "bin").mkdir()
    (path / "bin/run").write_text("#!/bin/sh\n")
    (path / "bin/run").chmod(0o755)
    (path / "link").symlink_to("bin/run")
    return path


def test_an_archive_has_the_same_bytes_on_every_machine(tmp_path: Path) -> None:
    one, two = context(tmp_path / "one"), context(tmp_path / "two")
    os.utime(two / "bin/run", (5, 5))
    assert archive(one) == archive(two)
    assert zipped(one) == zipped(two)
    (two / "bin/run").write_text("other")
    assert archive(one) != archive(two)


def test_an_archive_keeps_links_and_modes(tmp_path: Path) -> None:
    packed = zipfile.ZipFile(io.BytesIO(zipped(context(tmp_path / "context"))))
    assert packed.namelist() == ["context.tar.gz"]
    with tarfile.open(fileobj=io.BytesIO(packed.read("context.tar.gz"))) as tar:
        assert [member.name for member in tar] == ["Dockerfile", "bin", "bin/run", "link"]
        assert tar.getmember("bin/run").mode & 0o111
        assert tar.getmember("link").linkname == "bin/run"


def test_what_docker_is_told() -> None:
    request = BuildRequest(
        name="page",
        context=Path("/c"),
        dockerfile="d/File",
        args={"B": "2", "A": "1 x"},
        platforms=("linux/arm64",),
    )
    assert docker_args(request, TARGET) == (
        *("build", "--file", "d/File", "--tag", "r.io/a/page:build-1", "--platform", "linux/arm64"),
        *("--build-arg", "A=1 x", "--build-arg", "B=2", "."),
    )
    build = buildspec(request, TARGET)["phases"]["build"]["commands"]
    assert build[0].endswith("--build-arg 'A=1 x' --build-arg B=2 .")
    assert build[1] == "docker push r.io/a/page:build-1"


def test_an_argument_cannot_break_out_of_the_buildspec() -> None:
    request = BuildRequest(name="page", context=Path("/c"), args={"A": "'; rm -rf / #"})
    command = buildspec(request, TARGET)["phases"]["build"]["commands"][0]
    assert """'A='"'"'; rm -rf / #'""" in command


def test_one_platform_at_a_time() -> None:
    request = BuildRequest(name="page", context=Path("/c"), platforms=("linux/amd64", "linux/arm64"))
    with pytest.raises(
        InputError, match="acr_tasks builds for one platform at a time, not for linux/amd64, linux/arm64"
    ):
        one_platform(request, "acr_tasks")
    assert one_platform(BuildRequest(name="page", context=Path("/c")), "acr_tasks") is None


@pytest.mark.parametrize(
    ("text", "start", "found"),
    [
        (b"", 7, ([], "7")),
        (b"half", 7, ([], "7")),
        (b"one\nha", 0, (["one"], "4")),
        (b"one\n\ntwo\n", 3, (["one", "", "two"], "12")),
        (b"\xff\n", 0, (["\ufffd"], "2")),
    ],
)
def test_the_lines_of_a_log(text: bytes, start: int, found: tuple[list[str], str]) -> None:
    assert lines(text, start) == found


def test_names_of_what_a_service_keeps() -> None:
    assert tag(KEY) == "build-" + "ab" * 20
    assert object_name(KEY, "zip") == f"triplane-builds/{'ab' * 32}.zip"
    assert str(target("shop/page", KEY, {"registry": "r.io/a/"})) == f"r.io/a/shop/page:build-{'ab' * 20}"


def test_a_tag_that_is_taken_stays_with_its_image() -> None:
    one, two = (f"sha256:{digit * 64}" for digit in "12")
    served: dict[str | None, str] = {}
    assert untaken(TARGET, lambda reference: served.get(reference.tag)) == TARGET
    served["build-1"] = one
    assert untaken(TARGET, lambda reference: served.get(reference.tag)).tag == "build-1-11111111"
    served["build-1-11111111"] = two
    assert untaken(TARGET, lambda reference: served.get(reference.tag)).tag == "build-1-11111111-22222222"
    served["build-1-11111111"] = one
    assert untaken(TARGET, lambda reference: served.get(reference.tag)).tag == "build-1-11111111-11111111"


@pytest.mark.parametrize("builder", SERVICES)
def test_a_missing_option_is_named(builder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("aws.client", "gcp.client", "gcp.storage", "azure.client"):
        monkeypatch.setattr(f"triplane.clouds.{name}", lambda *args: None)
    with pytest.raises(InputError, match=r"this builder needs `(bucket|region|resource_group)`"):
        connect(builder, {"project": "p"})
    assert builder in CLOUD_OF


def test_a_key_knows_the_platforms_that_are_asked_for(tmp_path: Path) -> None:
    stage(context(tmp_path / "context"), "Dockerfile", tmp_path / "staged")
    plain = build_key(tmp_path / "staged", "Dockerfile", {})
    arm = build_key(tmp_path / "staged", "Dockerfile", {}, ("linux/arm64", "linux/amd64"))
    assert plain != arm
    assert arm == build_key(tmp_path / "staged", "Dockerfile", {}, ("linux/amd64", "linux/arm64"))


@pytest.mark.parametrize(
    ("builder", "tools", "host", "chosen"),
    [
        ("auto", ["buildah"], "unix:///none", "buildah"),
        ("auto", [], "tcp://engine:2376", "docker"),
        ("docker", ["buildah"], "unix:///none", "docker"),
    ],
)
def test_the_builder_of_a_worker(
    builder: str, tools: list[str], host: str, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in tools:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose(builder, host) == chosen


def test_a_worker_that_cannot_build_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="install buildah, set DOCKER_HOST, or build in a cloud"):
        choose("auto", f"unix:/{tmp_path}/docker.sock")
    with pytest.raises(InputError, match="'codebuild' does not build on a worker"):
        choose("codebuild", "")


def boto(code: str, status: int) -> Exception:
    from botocore.exceptions import ClientError

    return ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "StartBuild"
    )


def google(status: int) -> Exception:
    from google.api_core.exceptions import from_http_status

    return from_http_status(status, "said")


def azure(status: int) -> Exception:
    from azure.core.exceptions import HttpResponseError

    error = HttpResponseError("said")
    error.status_code = status
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (boto("ThrottlingException", 400), TransientError),
        (boto("InvalidInputException", 400), InputError),
        (google(503), TransientError),
        (google(403), InputError),
        (azure(429), TransientError),
        (azure(404), InputError),
        (RefusedError("ours"), RefusedError),
        (KeyError("a mistake of ours"), KeyError),
    ],
)
def test_refusals_are_final_and_troubles_are_not(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind), translated("codebuild"):
        raise error


def test_a_trigger_is_made_anew_from_what_it_says() -> None:
    arguments = {
        "builder": "codebuild",
        "service": {"region": "r"},
        "build": "b",
        "key": KEY,
        "deadline": 9.0,
    }
    path, written = ImageBuildTrigger(**arguments, interval=2.0).serialize()  # type: ignore[arg-type]
    assert path == "triplane.images.triggers.ImageBuildTrigger"
    assert written == {**arguments, "interval": 2.0}


def test_an_image_is_fetched_with_all_its_platforms_as_it_is() -> None:
    pinned = TARGET.at(KEY)
    assert fetch_args(pinned, Path("/f"), Path("/a")) == (
        *("skopeo", "copy", "--all", "--preserve-digests", "--retry-times", "2"),
        *("--src-authfile", "/a", f"docker://r.io/a/page@{KEY}", "dir:/f"),
    )
