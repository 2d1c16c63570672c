"""A rollout that fails leaves one mark, whatever number of its components fail."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from triplane import settings
from triplane.gates import markers
from triplane.gates.markers import Marker
from triplane.rollout.marking import FailureMarker

TASKS = {"aws/stack/network": ["network.apply", "network.apply_again"], "aws/function/hook": ["hook.deploy"]}
DEPLOYED = {"address": "aws/stack/network", "state": "deployed", "version": "2", "seconds": 3.0}
BACK = {"address": "aws/function/hook", "state": "rolled_back", "version": "1", "seconds": 9.0}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Marker]:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    change_set = SimpleNamespace(
        platform="shop", environment="prod", cloud="aws", revision="c0ffee", intent="deploy"
    )
    monkeypatch.setattr(settings, "get_change_set", lambda digest: change_set)
    found: list[Marker] = []
    monkeypatch.setitem(markers.WRITERS, "pushgateway", lambda place, marker: found.append(marker))
    return found


def fails(
    task_id: str, results: Mapping[str, Any], run_id: str = "r1", digest: str | None = "sha256:c"
) -> None:
    """``task_id`` fails, after tasks have left these results."""

    def pull(task_ids: str, key: str = "return_value", **_: Any) -> Any:
        if task_ids == "authorize":
            return digest
        return results.get(task_ids) if key == "return_value" else None

    context: Any = {
        "task_instance": SimpleNamespace(task_id=task_id, xcom_pull=pull),
        "dag_run": SimpleNamespace(run_id=run_id, start_date=datetime.now(UTC)),
    }
    FailureMarker(places=[{"kind": "pushgateway"}], tasks=TASKS).notify(context)


def test_what_failed_and_what_went_back(written: list[Marker]) -> None:
    results = {"network.apply": DEPLOYED, "hook.deploy": BACK}
    fails("hook.deploy", results)
    fails("network.apply", {}, run_id="r2")
    first, second = written
    assert (first.outcome, first.changed, first.seconds) == ("rolled_back", 1, 3.0)
    assert first.said == "deploy of shop c0ffee to prod (aws), rolled back"
    assert first.labels["outcome"] == "rolled_back"
    assert (second.outcome, second.changed, second.run_id) == ("failed", 0, "r2")


def test_one_run_is_marked_once(written: list[Marker]) -> None:
    for task_id in ("network.apply", "hook.deploy", "network.apply_again"):
        fails(task_id, {})
    assert len(written) == 1


def test_what_applied_nothing_leaves_no_mark(written: list[Marker]) -> None:
    fails("network.plan", {})
    fails("network.apply", {}, digest=None)
    assert written == []
