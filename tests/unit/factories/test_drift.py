"""The drift check of a whole platform: what runs when, on how many workers, and who answers for what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk.definitions._internal.contextmanager import DagContext

from triplane.factories.drift import DAILY, drift_dag

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "streaming-platform" / "platform.yaml"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> set[Any]:
    """The DAGs that Airflow finds although no variable of the DAG file holds them."""
    found: set[Any] = set()
    monkeypatch.setattr(DagContext, "autoregistered_dags", found)
    monkeypatch.setattr(DagContext, "current_autoregister_module_name", __name__)
    return found


def written(tmp_path: Path, environments: dict[str, Any]) -> str:
    spec = yaml.safe_load(EXAMPLE.read_text())
    for name, more in environments.items():
        spec["environments"][name] = {**next(iter(spec["environments"].values())), **more}
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(spec))
    return str(file)


def test_without_schedules_the_first_environment_is_checked_daily(registered: set[Any]) -> None:
    dag = drift_dag(str(EXAMPLE))
    assert (dag.schedule, {item.dag_id for item, _ in registered}) == (DAILY, {"drift_check"})


def test_each_scheduled_environment_has_a_dag_that_starts_the_check_for_it(
    tmp_path: Path, registered: set[Any]
) -> None:
    platform = written(
        tmp_path,
        {"prod": {"drift": {"schedule": "0 */4 * * *"}}, "check": {"drift": {"schedule": "5 5 * * MON"}}},
    )
    dag = drift_dag(platform, prefix="shop_")
    assert dag.schedule is None
    found = {item.dag_id: item for item, _ in registered}
    assert {name: item.schedule for name, item in found.items()} == {
        "shop_drift_check": None,
        "shop_drift_check_prod": "0 */4 * * *",
        "shop_drift_check_check": "5 5 * * MON",
    }
    (task,) = found["shop_drift_check_prod"].tasks
    assert (task.child_dag_id, task.conf) == ("shop_drift_check", {"environment": "prod"})


def test_a_check_of_everything_holds_four_slots() -> None:
    dag = drift_dag(str(EXAMPLE))
    assert (dag.max_active_tasks, dag.max_active_runs) == (4, 1)
    assert len(dag.tasks) > 4


def test_the_report_answers_for_every_component_and_every_image_that_is_used() -> None:
    dag = drift_dag(str(EXAMPLE))
    report: Any = dag.get_task("report")
    answered = sorted(address for addresses in report.checks.values() for address in addresses)
    from triplane.spec.load import load

    platform = load(EXAMPLE, files=False)
    secrets = [address for address in answered if address.split("/")[1] == "secret"]
    assert secrets == [f"{cloud}/secret/database_{cloud}" for cloud in ("aws", "azure", "gcp")]
    assert sorted({*answered} - {*secrets}) == sorted(platform.addresses())
    assert report.images["aws/image/ingest"] == ["aws/chart/ingest"]
    assert {address for users in report.images.values() for address in users} <= set(answered)
    assert report.policies["staging"] == {"alarm_after": 1, "on_drift": ["notify"]}
    assert dag.get_task("verdict").upstream_task_ids == {"report"}


def test_the_freeze_of_a_check_needs_no_more_than_the_form_of_a_check() -> None:
    dag = drift_dag(str(EXAMPLE))
    task: Any = dag.get_task("freeze")
    params = {name: dag.params.get_param(name).value for name in dag.params}
    rendered = {
        field: task.render_template(getattr(task, field), {"params": params})
        for field in task.template_fields
    }
    assert rendered["revision"] == "HEAD"
