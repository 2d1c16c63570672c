"""An apply that is refused or cut off between two calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.fernet import Fernet
from tests.unit.serverless.test_schedules import gcp

from triplane.core.errors import TransientError
from triplane.serverless.events import operators, targets
from triplane.serverless.target import DeployFailed


@pytest.mark.parametrize("error", [DeployFailed("refused"), TransientError("503")])
def test_an_apply_that_stops_half_way(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    target: Any = gcp()
    monkeypatch.setitem(targets.TARGETS, "cloud_scheduler", lambda place: target)
    pushed: list[Any] = []
    context: Any = {
        "dag_run": SimpleNamespace(dag_id="d", run_id="r"),
        "ti": SimpleNamespace(xcom_push=lambda key, value: pushed.append(value)),
    }

    def run(operator: Any, **more: Any) -> Any:
        options = {"function": "hook", "cron": more.pop("cron"), "enabled": more.pop("enabled", True)}
        task = operator(
            task_id="t", target="cloud_scheduler", name="n", scope="s/gcp", options=options, **more
        )
        return task.execute(context)

    change = run(operators.EventSourcePlanOperator, cron="0 6 * * *")
    run(operators.EventSourceApplyOperator, cron="0 6 * * *", change=change)
    change = run(operators.EventSourcePlanOperator, cron="0 7 * * *", enabled=False)
    call, path = target._api.call, "v1/projects/p/locations/r/jobs/n"

    def fail(verb: str, *args: Any, **options: Any) -> Any:
        if verb == "PATCH":
            target._api.call = call
            raise error
        return call(verb, *args, **options)

    target._api.call = fail
    apply: dict[str, Any] = {"cron": "0 7 * * *", "enabled": False, "change": change}
    if isinstance(error, DeployFailed):
        with pytest.raises(AirflowFailException, match="refused"):
            run(operators.EventSourceApplyOperator, **apply)
        assert pushed[-1]["state"] == "rolled_back"
        job = target._api.things[path]
        assert (job["schedule"], job["state"]) == ("0 6 * * *", "ENABLED")
        return
    with pytest.raises(AirflowException, match="503"):
        run(operators.EventSourceApplyOperator, **apply)
    assert target._api.things[path]["state"] == "PAUSED"
    assert run(operators.EventSourceApplyOperator, **apply)["state"] == "deployed"
    assert target._api.things[path]["schedule"] == "0 7 * * *"
