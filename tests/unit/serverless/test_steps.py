"""The steps of a deployment as tasks of their own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from cryptography.fernet import Fernet
from tests.unit.serverless.cloud import Cloud, Killed, World

from triplane.serverless import targets
from triplane.serverless.aws.operators import LambdaPublishVersionOperator, LambdaUpdateAliasOperator
from triplane.serverless.operators import (
    ServerlessInvokeOperator,
    ServerlessPrepareOperator,
    ServerlessTrafficOperator,
)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    found = Cloud(World())
    for name in ("memory", "lambda"):
        monkeypatch.setitem(targets.TARGETS, name, lambda place: found)
    (tmp_path / "code").mkdir()
    return found


def run(operator: Any, home: Path, number: int, **more: Any) -> dict[str, Any]:
    """As the triggerer does: a task that let go of its worker is called again."""
    given = {"target": "memory", **more} if "target" not in more else more
    if operator in (LambdaPublishVersionOperator, LambdaUpdateAliasOperator):
        given = more
    context: Any = {
        "dag_run": SimpleNamespace(dag_id="d", run_id=f"r{number}"),
        "ti": SimpleNamespace(xcom_push=lambda key, value: None),
    }
    task = operator(task_id="t", name="w", scope="s", **given)
    carried: dict[str, Any] = {}
    for _ in range(50):
        try:
            return task.go_on(context, None, **carried) if carried else task.execute(context)
        except TaskDeferred as parked:
            carried = parked.kwargs or {}
    raise AssertionError("no end")


def write(home: Path, text: str) -> str:
    (home / "code/app.py").write_text(text)
    return str(home / "code")


def test_prepare_ask_shift(cloud: Cloud, tmp_path: Path) -> None:
    first = run(LambdaPublishVersionOperator, tmp_path, 1, path=write(tmp_path, "one"))
    assert (first["version"], first["previous"]) == ("1", "")
    assert cloud.observe("w") is None or cloud.observe("w").version == ""  # type: ignore[union-attr]
    run(LambdaUpdateAliasOperator, tmp_path, 1, version="1")
    second = run(ServerlessPrepareOperator, tmp_path, 2, path=write(tmp_path, "two"))
    assert (second["version"], second["previous"]) == ("2", "1")
    assert cloud.observe("w").version == "1"  # type: ignore[union-attr]
    asked = run(ServerlessInvokeOperator, tmp_path, 2, version="2", smoke={})
    assert asked == {"version": "2", "status": 200}
    with pytest.raises(AirflowFailException, match="answered 200, not 418"):
        run(ServerlessInvokeOperator, tmp_path, 2, version="2", smoke={"status": 418})
    share = run(ServerlessTrafficOperator, tmp_path, 2, version="2", previous="1", percent=10)
    assert (share["version"], share["percent"]) == ("2", 10)
    assert cloud.observe("w").version == "1=90,2=10"  # type: ignore[union-attr]
    run(ServerlessTrafficOperator, tmp_path, 2, version="2")
    assert cloud.observe("w").version == "2"  # type: ignore[union-attr]


def test_a_run_makes_one_version(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "one")
    run(ServerlessPrepareOperator, tmp_path, 1, path=path)
    run(ServerlessTrafficOperator, tmp_path, 1, version="1")
    path, prepare, after = write(tmp_path, "two"), cloud.prepare, []

    def killed(*args: Any) -> Any:
        after.append(prepare(*args))
        if len(after) == 1:
            raise Killed("prepare")
        return after[-1]

    monkeypatch.setattr(cloud, "prepare", killed)
    with pytest.raises(Killed):
        run(ServerlessPrepareOperator, tmp_path, 2, path=path)
    again = run(ServerlessPrepareOperator, tmp_path, 2, path=path)
    assert (again["version"], again["previous"]) == ("2", "1")
    assert run(ServerlessPrepareOperator, tmp_path, 2, path=path)["version"] == "2"
    assert len(cloud.world.versions) == 2
    assert run(ServerlessPrepareOperator, tmp_path, 3, path=path)["version"] == "3"


@pytest.mark.parametrize(("percent", "splits"), [(0, True), (101, True), (10, False)])
def test_shares_that_cannot_be(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, percent: int, splits: bool
) -> None:
    run(ServerlessPrepareOperator, tmp_path, 1, path=write(tmp_path, "one"))
    monkeypatch.setattr(cloud, "splits", splits)
    with pytest.raises(AirflowFailException, match=r"between 1 and 100|cannot share"):
        run(ServerlessTrafficOperator, tmp_path, 1, version="1", percent=percent)


def test_traffic_that_does_not_move_is_said(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(ServerlessPrepareOperator, tmp_path, 1, path=write(tmp_path, "one"))
    run(ServerlessTrafficOperator, tmp_path, 1, version="1")
    run(ServerlessPrepareOperator, tmp_path, 2, path=write(tmp_path, "two"))
    from triplane.serverless.target import Ready

    monkeypatch.setattr(cloud, "shift", lambda *args: Ready(version="2"))
    with pytest.raises(AirflowFailException, match="2 should serve, but 1 does"):
        run(ServerlessTrafficOperator, tmp_path, 2, version="2")
