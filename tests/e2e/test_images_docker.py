"""Builds in a real Docker Engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.fernet import Fernet

from tests.e2e.test_images import REGISTRIES, push
from triplane.images.operators import ImageBuildOperator
from triplane.sandbox.runtime import Sandbox

BASE = "FROM scratch\nARG V=0\nCOPY busybox /bin/sh\n"
ENDLESS = f"{BASE}RUN echo started; while true; do :; done\n"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and "DOCKER_HOST" not in os.environ,
    reason="starting a Docker Engine takes root; name a running one in DOCKER_HOST",
)


def answers(host: str) -> bool:
    try:
        client = docker.APIClient(base_url=host, timeout=5)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False
    finally:
        client.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """The URL of a Docker Engine: the one in ``DOCKER_HOST``, or one of our own without any network."""
    if host := os.environ.get("DOCKER_HOST"):
        yield host
        return
    with started(os.environ) as host:
        yield host


@contextmanager
def started(env: Mapping[str, str]) -> Iterator[str]:
    """A Docker Engine of our own, whose builds have no network. Its sockets need a short path."""
    home = Path(tempfile.mkdtemp(prefix="engine-"))
    host = f"unix://{home}/docker.sock"
    folders = [f"--{name}-root={home}/{name}" for name in ("data", "exec")]
    network = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", "--host", host, f"--pidfile={home}/pid", *folders, *network],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
        )
    try:
        end = time.monotonic() + 60
        while not answers(host):
            ended = process.poll() is not None or time.monotonic() > end
            assert not ended, (home / "log").read_text()[-3000:]
            time.sleep(0.2)
        yield host
    finally:
        process.terminate()
        process.wait(30)
        for mounted in (home / "data", *home.glob("exec/netns/*")):
            subprocess.run(["umount", mounted], check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def context(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("DOCKER_HOST", engine)
    path = tmp_path / "context"
    path.mkdir()
    shutil.copy(shutil.which("busybox") or "", path / "busybox")
    return path


def operator(context: Path, dockerfile: str, **kwargs: Any) -> ImageBuildOperator:
    (context / "Dockerfile").write_text(dockerfile)
    return ImageBuildOperator(task_id="build", image="x", path=str(context), builder="docker", **kwargs)


def test_a_context_is_built_once(context: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = operator(context, f"{BASE}RUN echo $V > /v\n", build_args={"V": "1"}).execute({})
    assert "Successfully built" in capsys.readouterr().out
    again = operator(context, f"{BASE}RUN echo $V > /v\n", build_args={"V": "1"}).execute({})
    assert again == first
    assert "was built before" in capsys.readouterr().out


def test_the_engine_does_not_keep_the_image(context: Path) -> None:
    client = docker.APIClient(base_url=os.environ["DOCKER_HOST"])
    before = {image["Id"] for image in client.images(all=True)}
    operator(context, f"{BASE}RUN echo {context.parent.name} > /v\n").execute({})
    assert {image["Id"] for image in client.images(all=True)} <= before
    client.close()


@pytest.mark.e2e
@pytest.mark.skipif(os.geteuid() != 0, reason="starting a Docker Engine takes root")
def test_a_base_in_a_registry_of_the_platform(
    sandbox: Sandbox, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sandbox.environ().items():
        monkeypatch.setenv(name, value)
    host, conn_id = REGISTRIES["azure"]
    with started(os.environ) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine)
        base = operator(context, f"{BASE}RUN echo {context.parent.name} > /v\n").execute({})
        push("azure", base["digest"], image="engine-base", tag="1")
        build = operator(
            context,
            f"FROM {host}/engine-base:1\nRUN cat /v > /copy\n",
            logins={host: {"cloud": "azure", "conn_id": conn_id}},
        )
        assert build.execute({})["digest"] != base["digest"]


def test_an_error_in_the_stream_fails_the_task(context: Path) -> None:
    with pytest.raises(AirflowFailException, match="returned a non-zero code: 3"):
        operator(context, f"{BASE}RUN exit 3\n").execute({})


def test_on_kill_stops_the_build(context: Path) -> None:
    build = operator(context, ENDLESS)
    threading.Timer(3, build.on_kill).start()
    with pytest.raises(AirflowException, match="stopped from outside"):
        build.execute({})
    assert_nothing_runs()


def test_a_timeout_stops_the_build(context: Path) -> None:
    with pytest.raises(AirflowException, match="was stopped after its limit of 4 s"):
        operator(context, ENDLESS, timeout=4).execute({})
    assert_nothing_runs()


def assert_nothing_runs() -> None:
    client = docker.APIClient(base_url=os.environ["DOCKER_HOST"])
    deadline = time.monotonic() + 20
    while any("while true" in container["Command"] for container in client.containers()):
        assert time.monotonic() < deadline, "the build goes on in the Engine"
        time.sleep(0.2)
    client.close()
