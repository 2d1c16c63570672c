from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from cryptography.fernet import Fernet
from tests.unit.serverless.cloud import Cloud, Killed, World

from triplane.core.change import ComponentChange
from triplane.core.errors import RefusedError
from triplane.serverless import targets
from triplane.serverless.links import CONSOLE_URL, console_url
from triplane.serverless.operators import (
    ServerlessDeleteOperator,
    ServerlessDeployOperator,
    ServerlessPlanOperator,
    base,
)
from triplane.serverless.package import build
from triplane.serverless.target import Answer, Smoke

CANARY = {"strategy": "canary", "steps": [10], "wait": 60}
NO_ONE = "00000000-0000-0000-0000-000000000001"


class Run:
    """One run of a DAG that plans and deploys one function, in tries of its tasks."""

    def __init__(self, home: Path, cloud: Cloud) -> None:
        self.cloud = cloud
        self.number = 1
        self.code = home / "code"
        self.code.mkdir()
        self.write("first")
        self.results: dict[str, Any] = {}
        self.tries = 1

    def write(self, text: str) -> str:
        (self.code / "app.py").write_text(text)
        return build(self.code).digest

    def context(self, tries: int = 1, most: int = 3) -> Any:
        push = lambda key, value: self.results.__setitem__(key, value)  # noqa: E731
        instance = SimpleNamespace(
            id=NO_ONE, task_id="t", map_index=-1, xcom_push=push, try_number=tries, max_tries=most
        )
        run = SimpleNamespace(dag_id="d", run_id=f"r{self.number}", triggering_user_name="alice")
        return {"dag_run": run, "ti": instance, "task_instance": instance}

    def arguments(self, **more: Any) -> dict[str, Any]:
        known = {"target": "memory", "name": "w", "path": str(self.code), "scope": "staging/aws"}
        return {"task_id": "t", **known, **more}

    def plan(self, **more: Any) -> dict[str, Any]:
        return ServerlessPlanOperator(**self.arguments(**more)).execute(self.context())

    def deploy(self, change: Any = None, tries: int = 1, most: int = 3, **more: Any) -> dict[str, Any]:
        operator = ServerlessDeployOperator(**self.arguments(change=change, **more))
        return operator.execute(self.context(tries, most))

    def to_the_end(self, change: Any = None, **more: Any) -> dict[str, Any]:
        """As the triggerer does: a task that let go of its worker is called again."""
        carried: Mapping[str, Any] = {}
        for _ in range(50):
            operator = ServerlessDeployOperator(**self.arguments(change=change, **more))
            try:
                return (
                    operator.go_on(self.context(), None, **carried)
                    if carried
                    else operator.execute(self.context())
                )
            except TaskDeferred as parked:
                carried = parked.kwargs or {}
        raise AssertionError("no end")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that only passes by waiting; a list with now."""
    now = [1_000_000.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    from triplane.serverless import deployment
    from triplane.serverless.operators import deploy

    fake = SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0], sleep=sleep)
    for module in (base, deploy, deployment):
        monkeypatch.setattr(module, "time", fake)
    return now


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> Run:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    found = Run(tmp_path, Cloud(World()))
    monkeypatch.setitem(targets.TARGETS, "memory", lambda place: found.cloud)
    return found


def test_deploy_nothing_update(run: Run) -> None:
    first = run.to_the_end(run.plan())
    assert (first["state"], first["version"]) == ("deployed", "1")
    assert run.plan()["action"] == "none"
    assert run.to_the_end(run.plan())["state"] == "unchanged"
    assert len(run.cloud.world.versions) == 1
    run.write("second")
    run.number += 1
    second = run.to_the_end(run.plan())
    assert (second["state"], second["version"], second["details"]["previous"]) == ("deployed", "2", "1")


def test_a_canary_lets_go_of_its_worker(run: Run, clock: list[float]) -> None:
    run.to_the_end(run.plan())
    run.write("second")
    run.number += 1
    change = run.plan(traffic=CANARY)
    with pytest.raises(TaskDeferred) as parked:
        run.deploy(change, traffic=CANARY)
    assert run.cloud.world.traffic == {"1": 90, "2": 10}
    assert parked.value.trigger.serialize() == (
        "triplane.serverless.triggers.MomentTrigger",
        {"moment": clock[0] + 60},
    )
    with pytest.raises(TaskDeferred):
        run.deploy(change, traffic=CANARY)
    clock[0] += 61
    result = run.deploy(change, traffic=CANARY)
    assert (result["state"], result["seconds"]) == ("deployed", pytest.approx(61, abs=1))
    assert run.cloud.world.history[-2:] == [{"1": 90, "2": 10}, {"2": 100}]
    assert [(shift["version"], shift["percent"]) for shift in run.results["traffic"]] == [
        ("2", 10),
        ("2", 100),
    ]


def test_what_takes_long_is_looked_at_more_and_more_rarely(run: Run, clock: list[float]) -> None:
    run.cloud.slow, run.cloud.look = 4, 5.0
    change = run.plan()
    waits = []
    for _ in range(20):
        try:
            assert run.deploy(change)["state"] == "deployed"
            break
        except TaskDeferred as parked:
            waits.append(parked.trigger.serialize()[1]["moment"] - clock[0])
            clock[0] += 100
    bringing_up = waits[: waits.index(max(waits)) + 1]
    assert bringing_up == sorted(bringing_up)
    assert (bringing_up[0], bringing_up[-1]) == (5, pytest.approx(52, abs=5))


def test_without_deferring_it_waits_in_the_worker(run: Run) -> None:
    run.to_the_end(run.plan())
    run.write("second")
    run.number += 1
    assert run.deploy(run.plan(traffic=CANARY), traffic=CANARY, deferrable=False)["version"] == "2"


def test_what_fails_is_put_back_and_told(run: Run) -> None:
    run.to_the_end(run.plan())
    run.cloud.broken = frozenset({run.write("second")})
    run.number += 1
    change = run.plan()
    with pytest.raises(AirflowFailException, match="it does not come up; 1 serves"):
        run.to_the_end(change)
    assert run.results["return_value"]["state"] == "rolled_back"
    assert run.results["return_value"]["version"] == "1"
    assert run.cloud.world.traffic == {"1": 100}
    assert run.plan()["action"] == "update", "the next plan wants it again"
    run.cloud.broken = frozenset()
    assert run.to_the_end(run.plan())["state"] == "deployed", "cleared in the same run it is begun anew"


@pytest.mark.parametrize("moment", range(1, 16))
@pytest.mark.parametrize("bad", [False, True])
def test_a_killed_task_goes_on_in_its_retry(run: Run, clock: list[float], moment: int, bad: bool) -> None:
    run.to_the_end(run.plan())
    new = run.write("second")
    run.number += 1
    run.cloud.sick = frozenset({new} if bad else ())
    more = {"traffic": CANARY, "smoke": {"status": 200}}
    change = run.plan(**more)
    run.cloud.kill_at = run.cloud.world.calls + moment
    kills, failed = 0, ""
    for _ in range(20):
        try:
            result = run.deploy(change, **more)
            assert (result["state"], result["version"]) == ("deployed", "2")
            break
        except Killed:
            kills += 1
        except TaskDeferred:
            clock[0] += 61
        except AirflowFailException as error:
            failed = str(error)
            break
    assert ("smoke test" in failed) == bad
    assert kills <= 1
    assert run.cloud.world.traffic == ({"1": 100} if bad else {"2": 100})
    assert len(run.cloud.world.versions) == 2, "made once"


def test_the_last_try_puts_back_what_no_retry_can_finish(run: Run, clock: list[float]) -> None:
    run.to_the_end(run.plan())
    run.write("second")
    run.number += 1
    change = run.plan(traffic=CANARY)
    with pytest.raises(TaskDeferred):
        run.deploy(change, traffic=CANARY)
    clock[0] += 61
    calls = run.cloud.world.calls
    run.cloud.busy = frozenset({calls + 1})
    with pytest.raises(AirflowException, match="429") as error:
        run.deploy(change, traffic=CANARY, tries=3)
    assert not isinstance(error.value, AirflowFailException)
    assert run.cloud.world.traffic == {"1": 90, "2": 10}
    run.cloud.busy = frozenset({run.cloud.world.calls + 1})
    with pytest.raises(AirflowFailException, match=r"429 .*; 1 serves"):
        run.deploy(change, traffic=CANARY, tries=4)
    assert run.cloud.world.traffic == {"1": 100}


def test_an_approval_that_ends_in_the_middle_does_not_leave_traffic_split(
    run: Run, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    run.to_the_end(run.plan())
    run.write("second")
    run.number += 1
    change = ComponentChange.from_json(run.plan(traffic=CANARY))
    held = [True]

    def approved(self: Any, context: Any) -> ComponentChange:
        if not held[0]:
            raise RefusedError("expired")
        return change

    monkeypatch.setattr(ServerlessDeployOperator, "approved", approved)
    more = {"change_set": "sha256:x", "revision": "abc", "traffic": CANARY}
    with pytest.raises(TaskDeferred):
        run.deploy(**more)
    held[0] = False
    clock[0] += 61
    with pytest.raises(AirflowFailException, match="expired"):
        run.deploy(**{**more, "change_set": "sha256:another"})
    assert run.deploy(**more)["state"] == "deployed"
    run.number += 1
    with pytest.raises(AirflowFailException, match="expired"):
        run.deploy(**more)


def test_another_way_over_than_approved_is_refused(run: Run) -> None:
    change = run.plan(traffic=CANARY)
    with pytest.raises(AirflowFailException, match="traffic not as approved"):
        run.deploy(change)
    change = run.plan(smoke={"status": 200})
    with pytest.raises(AirflowFailException, match="smoke not as approved"):
        run.deploy(change, smoke={"status": 500})


def test_a_smoke_test_may_hold_a_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_WEBHOOK_TOKEN", "planted-token-value")
    more = {
        "smoke": {"payload": {"token": "${variable.webhook_token}"}, "contains": "${variable.webhook_token}"}
    }
    asked: list[Smoke] = []

    def invoke(name: str, version: str, smoke: Smoke) -> Answer:
        asked.append(smoke)
        return Answer(status=200, body="no")

    monkeypatch.setattr(run.cloud, "invoke", invoke)
    change = run.plan(**more)
    assert "planted" not in str(change)
    with pytest.raises(AirflowFailException, match="does not hold") as error:
        run.to_the_end(change, **more)
    assert asked[0].payload == {"token": "planted-token-value"}
    assert "planted" not in str(error.value) + str(run.results)


def test_without_an_artifact_store_the_deferral_carries_how_far_it_is(
    run: Run, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    run.to_the_end()
    monkeypatch.setattr(ServerlessDeployOperator, "_store", lambda self: None)
    run.write("second")
    with pytest.raises(TaskDeferred) as parked:
        run.deploy(traffic=CANARY)
    record = (parked.value.kwargs or {})["record"]
    assert record["attempt"]["previous"]["environment"] == {}
    clock[0] += 61
    operator = ServerlessDeployOperator(**run.arguments(traffic=CANARY))
    assert operator.go_on(run.context(), None, record)["version"] == "2"


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("lambda", "https://r.console.aws.amazon.com/lambda/home?region=r#/functions/w"),
        ("fargate", "https://r.console.aws.amazon.com/ecs/v2/clusters/main/services/w?region=r"),
        ("cloud_run", "https://console.cloud.google.com/run/detail/r/w?project=p"),
        ("cloud_functions", "https://console.cloud.google.com/functions/details/r/w?project=p"),
        (
            "azure_functions",
            "https://portal.azure.com/#resource/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/w",
        ),
        (
            "container_apps",
            "https://portal.azure.com/#resource/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/w",
        ),
        ("eventbridge", "https://r.console.aws.amazon.com/scheduler/home?region=r#schedules/default/w"),
        (
            "eventbridge_rules",
            "https://r.console.aws.amazon.com/events/home?region=r#/eventbus/default/rules/w",
        ),
        ("kinesis", "https://r.console.aws.amazon.com/lambda/home?region=r#/functions/hook"),
        ("cloud_scheduler", "https://console.cloud.google.com/cloudscheduler/jobs/edit/r/w?project=p"),
        ("pubsub", "https://console.cloud.google.com/cloudpubsub/subscription/detail/w?project=p"),
        (
            "logic_apps",
            "https://portal.azure.com/#resource/subscriptions/s/resourceGroups/g/providers/Microsoft.Logic/workflows/w",
        ),
        (
            "event_hubs",
            "https://portal.azure.com/#resource/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/hook",
        ),
        ("memory", ""),
    ],
)
def test_links(target: str, url: str) -> None:
    place = targets.Place("c", region="r", project="p", resource_group="g", subscription="s")
    options = {"cluster": "arn:aws:ecs:r:000000000000:cluster/main", "function": "hook"}
    assert console_url(target, "w", place, options) == url


def test_a_task_leads_to_the_console(run: Run) -> None:
    run.plan()
    assert run.results[CONSOLE_URL] == ""


def test_delete(run: Run) -> None:
    run.to_the_end(run.plan())
    change = run.plan(intent="destroy")
    assert (change["action"], change["risk"]) == ("destroy", "critical")
    operator = ServerlessDeleteOperator(**run.arguments(change=change))
    assert operator.execute(run.context())["state"] == "destroyed"
    assert not run.cloud.world.versions
