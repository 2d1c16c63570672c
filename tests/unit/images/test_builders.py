from __future__ import annotations

from pathlib import Path

import pytest

from triplane.core.errors import ToolError, TransientError
from triplane.images.builders import BuildRequest
from triplane.images.builders.buildah import build_args, push_args, storage_args
from triplane.images.builders.docker import convert_args, read_build


def test_buildah_arguments() -> None:
    request = BuildRequest(name="api", context=Path("/c"), dockerfile="d/File", args={"B": "2", "A": "1 x"})
    assert build_args(request, "chroot", Path("/s/id")) == (
        *("bud", "--isolation", "chroot", "--layers=false", "--format", "oci", "--timestamp", "0"),
        *("--identity-label=false", "--iidfile", "/s/id", "--build-arg", "A=1 x", "--build-arg", "B=2"),
        *("--file", "/c/d/File", "/c"),
    )
    plain = build_args(BuildRequest(name="api", context=Path("/c")), "oci", Path("/s/id"))
    assert plain[:4] == ("bud", "--isolation", "oci", "--layers=true")
    assert push_args("sha256:1", Path("/l")) == ("push", "--format", "oci", "sha256:1", "oci:/l")
    assert storage_args(Path("/s")) == ("--root", "/s/root", "--runroot", "/s/run")


def test_docker_arguments() -> None:
    assert convert_args(Path("/a.tar"), Path("/l")) == (
        *("skopeo", "copy", "--format", "oci", "docker-archive:/a.tar", "oci:/l"),
    )


def test_the_stream_of_a_docker_build() -> None:
    lines: list[str] = []
    events = [
        {"stream": "Step 1/2 : FROM scratch\n ---> \n"},
        {"status": "Pulling"},
        {"stream": "\n"},
        {"aux": {"ID": "sha256:1"}},
        {"stream": "Successfully built 1\n"},
    ]
    assert read_build(events, lines.append) == "sha256:1"
    assert lines == ["Step 1/2 : FROM scratch", " --->", "Pulling", "Successfully built 1"]


def test_an_error_in_the_stream_is_raised() -> None:
    events = [
        {"stream": "Step 1"},
        {"error": "COPY failed", "errorDetail": {"code": 2, "message": "COPY failed"}},
    ]
    with pytest.raises(ToolError, match="docker build ended with 2: COPY failed"):
        read_build(events, lambda line: None)


def test_a_stream_that_just_ends_is_no_success() -> None:
    with pytest.raises(TransientError, match="without an image"):
        read_build([{"stream": "Step 1"}], lambda line: None)
