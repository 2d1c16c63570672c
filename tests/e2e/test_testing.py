"""Tests inside built images: in buildah's containers and in a real Docker Engine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.e2e import test_images, test_images_docker
from tests.e2e.test_images import build, environ, storage
from tests.e2e.test_images_docker import engine
from triplane.testing.operators import TestOperator

__all__ = ["engine", "environ", "storage"]
REPORT = "<testsuite><testcase name='a'/><testcase classname='c' name='b'>{}</testcase></testsuite>"
GOOD, BAD = (f'echo "{REPORT.format(inner)}" > report.xml' for inner in ("", "<failure/>"))
DOCKERFILE = "FROM docker.io/library/busybox:1.36\nRUN mkdir /app\nWORKDIR /app\nCOPY page /app/page\n"


class Instance:
    def xcom_push(self, key: str, value: Any) -> None:
        assert (key, value["name"]) == ("result", "smoke")


def run(image: str, *commands: str, **kwargs: Any) -> Any:
    operator = TestOperator(
        **{"task_id": "smoke", "name": "smoke", "commands": commands, "image": image, **kwargs}
    )
    return operator.execute({"task_instance": Instance()})  # type: ignore[typeddict-item]


def containers(storage: Path) -> str:
    command = ["buildah", "--root", storage / "root", "--runroot", storage / "run", "containers", "--quiet"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    path.mkdir()
    (path / "Dockerfile").write_text(DOCKERFILE)
    (path / "page").write_text("hello")
    return path


@test_images.pytestmark[1]
def test_in_a_container_of_buildah(
    environ: dict[str, str],
    context: Path,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_TEST_TOKEN", "Pl4nted-image-token")
    image = build(context, storage)["digest"]
    where: dict[str, Any] = {"storage": str(storage), "report": "report.xml"}
    found = run(
        image,
        "grep hello page",
        'test "$TOKEN" = Pl4nted-image-token',
        'echo "is $TOKEN"',
        GOOD,
        environment={"TOKEN": "${variable.test_token}"},
        **where,
    )
    assert found["text"] == "2 of 2 tests passed"
    assert found["image"] == image
    output = capsys.readouterr().out
    assert "is ***" in output
    assert "Pl4nted" not in output
    with pytest.raises(AirflowFailException, match=r"1 of 2 tests passed, 1 failed: c\.b"):
        run(image, BAD, "exit 3", **where)
    with pytest.raises(AirflowFailException, match="wrote no report"):
        run(image, "true", **where)
    with pytest.raises(AirflowFailException, match="stopped after its limit"):
        run(image, "sleep 23", **{**where, "timeout": 3})
    assert containers(storage) == ""


@test_images.pytestmark[1]
def test_where_temporary_folders_are_does_not_matter(
    environ: dict[str, str], context: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = build(context, storage)["digest"]
    scratch = tmp_path / "Not a_name_"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert run(image, "true", storage=str(storage))["text"] == "1 command ended well"


@test_images_docker.pytestmark
def test_in_a_docker_engine(
    environ: dict[str, str],
    engine: str,
    context: Path,
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import docker

    image = build(context, storage)["digest"]
    monkeypatch.setenv("DOCKER_HOST", engine)
    monkeypatch.setenv("AIRFLOW_VAR_TEST_TOKEN", "Pl4nted-docker-token")
    where: dict[str, Any] = {
        "runner": "docker",
        "report": "report.xml",
        "options": {"network_mode": "none"},
    }
    found = run(
        image,
        "grep hello page",
        'test "$TOKEN" = Pl4nted-docker-token',
        GOOD,
        environment={"TOKEN": "${variable.test_token}"},
        **where,
    )
    assert found["text"] == "2 of 2 tests passed"
    with pytest.raises(AirflowFailException, match=r"1 of 2 tests passed, 1 failed: c\.b"):
        run(image, BAD, "exit 3", **where)
    with pytest.raises(AirflowFailException, match="wrote no report"):
        run(image, "true", **where)
    client = docker.APIClient(base_url=engine)
    assert client.containers(all=True) == []
    assert client.images() == []
    client.close()
