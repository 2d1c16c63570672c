from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from docker.auth import AuthConfig
from docker.errors import APIError

from triplane.core.errors import InputError, ToolError, TransientError
from triplane.images.builders import BuildRequest, buildah
from triplane.images.builders.buildah import build_args, index_push_args, push_args, storage_args
from triplane.images.builders.docker import DockerEngine, add_logins, convert_args, read_build
from triplane.images.login import write_logins


def test_buildah_arguments() -> None:
    request = BuildRequest(name="api", context=Path("/c"), dockerfile="d/File", args={"B": "2", "A": "1 x"})
    assert build_args(request, "chroot", Path("/s/id")) == (
        *("bud", "--isolation", "chroot", "--layers=false", "--format", "oci", "--timestamp", "0"),
        *("--identity-label=false", "--iidfile", "/s/id", "--build-arg", "A=1 x", "--build-arg", "B=2"),
        *("--file", "/c/d/File", "/c"),
    )
    plain = build_args(BuildRequest(name="api", context=Path("/c")), "oci", Path("/s/id"))
    assert plain[:4] == ("bud", "--isolation", "oci", "--layers=true")
    one = BuildRequest(name="api", context=Path("/c"), platforms=("linux/arm64",))
    assert build_args(one, "oci", Path("/s/id"))[3:] == (
        *("--layers=false", "--format", "oci", "--timestamp", "0", "--identity-label=false"),
        *("--iidfile", "/s/id", "--platform", "linux/arm64", "--file", "/c/Dockerfile", "/c"),
    )
    two = BuildRequest(name="api", context=Path("/c"), platforms=("linux/amd64", "linux/arm64"))
    assert build_args(two, "oci", Path("/s/id"), "localhost/i:1")[9:13] == (
        *("--manifest", "localhost/i:1", "--platform", "linux/amd64,linux/arm64"),
    )
    assert index_push_args("localhost/i:1", Path("/l")) == (
        *("manifest", "push", "--all", "--format", "oci", "localhost/i:1", "oci:/l"),
    )
    assert push_args("sha256:1", Path("/l")) == ("push", "--format", "oci", "sha256:1", "oci:/l")
    assert storage_args(Path("/s")) == ("--root", "/s/root", "--runroot", "/s/run")


@pytest.mark.parametrize(
    ("platforms", "emulated", "said", "raised"),
    [
        (
            ("linux/arm64",),
            (),
            'exec format error\nError: building at STEP "RUN /sh": exit status 1',
            InputError,
        ),
        (("linux/arm64",), (), 'Error: building at STEP "RUN /sh": exit status 1', InputError),
        (("linux/arm64",), ("qemu-aarch64",), 'Error: building at STEP "RUN /sh": exit status 1', ToolError),
        (("linux/arm64",), (), 'Error: building at STEP "COPY x /y": no such file', ToolError),
        (("linux/amd64", "linux/386"), (), 'Error: building at STEP "RUN /sh": exit status 1', ToolError),
        ((), (), "exec format error", ToolError),
    ],
)
def test_what_a_worker_cannot_run_is_explained(
    platforms: tuple[str, ...],
    emulated: tuple[str, ...],
    said: str,
    raised: type[Exception],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buildah.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(buildah, "_EMULATORS", tmp_path)
    for name in emulated:
        (tmp_path / name).touch()
    request = BuildRequest(name="api", context=Path("/c"), platforms=platforms)
    with pytest.raises(raised), buildah.explained(request):
        raise ToolError(("buildah",), 1, said)


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


def test_logins_for_base_images_are_added_to_those_of_the_engines_client(tmp_path: Path) -> None:
    own = {"username": "me", "password": "mine"}
    client = SimpleNamespace(_auth_configs=AuthConfig({"auths": {"docker.io": own}}))
    add_logins(client, write_logins(tmp_path / "auth.json", {"x.azurecr.io": ("user", "pass:word")}))
    sent = client._auth_configs.get_all_credentials()
    assert sent["docker.io"] == own
    found = {key: sent["x.azurecr.io"][key] for key in ("username", "password", "serveraddress")}
    assert found == {"username": "user", "password": "pass:word", "serveraddress": "x.azurecr.io"}


@pytest.mark.parametrize(("status", "said"), [(409, False), (404, False), (500, True)])
def test_an_image_that_stays_in_the_engine_is_no_error(status: int, said: bool) -> None:
    def remove(image: str) -> None:
        raise APIError("refused", response=SimpleNamespace(status_code=status, url="", reason=""))

    lines: list[str] = []
    client = SimpleNamespace(close=lambda: None, remove_image=remove)
    DockerEngine(client)._forget("sha256:1", lines.append)
    assert bool(lines) is said
