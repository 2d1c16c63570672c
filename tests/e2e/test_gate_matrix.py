"""Every source of a gate in every situation, through the sensor and its trigger: none but what is seen to be good passes."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from tests.e2e import gate_cases
from tests.e2e.gate_cases import ENDED, THROTTLED, Case
from tests.e2e.monitoring_lab import direct, fired
from tests.unit.gates.services import Service, serving
from triplane.gates import check, rest
from triplane.gates.sensors import GateSensor
from triplane.gates.triggers import GateTrigger
from triplane.gates.watch import Looker
from triplane.sandbox.runtime import Sandbox

pytestmark = pytest.mark.usefixtures("cloud_env")
QUICK = {"lasting": 0.2, "every": 0.1, "patience": 0.1}
SOURCES = (
    *("cloudwatch", "cloudwatch_alarms", "cloud_monitoring", "cloud_monitoring_policies", "azure_monitor"),
    *(
        "azure_monitor_rules",
        "prometheus",
        "prometheus_aws",
        "prometheus_gcp",
        "prometheus_azure",
        "promql",
        "http",
    ),
)
WITH_CREDENTIALS = tuple(name for name in SOURCES if name not in ("prometheus", "http"))


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as made:
        yield made


@pytest.fixture
def case(
    request: pytest.FixtureRequest, service: Service, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Case]:
    monkeypatch.setattr(rest, "REPEATS", replace(rest.REPEATS, first=0.01))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    name, (kind, _, more) = f"x{uuid.uuid4().hex[:10]}", request.param.partition("_")
    match request.param:
        case "http":
            made = gate_cases.of_http(service)
        case "promql":
            made = gate_cases.of_promql(service, monkeypatch)
        case "prometheus" | "prometheus_aws" | "prometheus_gcp" | "prometheus_azure":
            made = gate_cases.of_prometheus(service, more)
        case "cloudwatch" | "cloudwatch_alarms":
            made = gate_cases.of_cloudwatch(name, sandbox, bool(more))
        case "cloud_monitoring" | "cloud_monitoring_policies":
            made = gate_cases.of_cloud_monitoring(name, sandbox, more.endswith("policies"))
        case _:
            made = gate_cases.of_azure_monitor(name, sandbox, more.endswith("rules"))
    made.check = {**QUICK, "name": kind, **made.check}
    yield made
    made.calm()


every_source = pytest.mark.parametrize("case", SOURCES, indirect=True)


class Instance:
    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def judged(asked: dict[str, Any]) -> dict[str, Any]:
    """The verdict with which the sensor ends, well or not; the trigger went through the database between."""
    sensor, instance = GateSensor(task_id="gate", checks=[asked]), Instance()
    with pytest.raises(TaskDeferred) as parked:
        sensor.execute({})
    event = fired(parked.value)
    context: Any = {"task_instance": instance}
    if event["state"] == "pass":
        return sensor.execute_complete(context, event)
    with pytest.raises(AirflowFailException, match=rf"did not pass \({event['state']}\)"):
        sensor.execute_complete(context, event)
    return dict(instance.pushed["verdict"])


def test_every_source_is_here() -> None:
    assert {name for name in check.SOURCES if not any(each.startswith(name) for each in SOURCES)} == set()


@every_source
def test_silent_then_good_then_bad(case: Case) -> None:
    """``no_data`` at the first silence, and with the samples that it rests on; only good passes."""
    silent = judged({**case.check, "no_data": "fail"})
    assert (silent["state"], silent["observed"]) == ("no_data", 1)
    assert "nothing was observed" in silent["reason"] or "not found" in silent["reason"]
    case.good()
    good = judged(case.check)
    assert good["state"] == "pass", good
    assert all(sample["good"] for sample in good["samples"])
    assert good["observed"] >= 2
    case.bad()
    bad = judged({**case.check, "lasting": 60.0})
    assert bad["state"] == "fail"
    assert not any(sample["good"] for sample in bad["samples"]), bad
    assert case.bad_text in bad["samples"][-1]["text"]


@every_source
def test_silence_ends_in_time(case: Case) -> None:
    """``for`` and ``patience`` are the longest that a gate waits. What can never be observed decides before."""
    begun = time.monotonic()
    verdict = judged({**case.check, "patience": 0.5})
    assert verdict["state"] == "no_data"
    assert time.monotonic() - begun < 10


@every_source
def test_throttling_passes_by_and_passes_nothing(case: Case) -> None:
    case.good()
    case.fails(THROTTLED, 1)
    if case.check["source"] == "http":
        assert judged(case.check)["state"] == "fail", "an answer is an answer"
        return
    assert judged({**case.check, "patience": 10.0})["state"] == "pass"
    case.fails(THROTTLED, 99)
    verdict = judged(case.check)
    assert verdict["state"] == "no_data"
    assert "429" in verdict["reason"] or "Throttling" in verdict["reason"]


@pytest.mark.parametrize("case", WITH_CREDENTIALS, indirect=True)
def test_credentials_that_ended_are_renewed_once(case: Case) -> None:
    case.good()
    case.fails(ENDED, 1)
    assert judged(case.check)["state"] == "pass"
    case.fails(ENDED, 99)
    verdict = judged({**case.check, "patience": 60.0})
    assert (verdict["state"], verdict["observed"]) == ("no_data", 1)
    assert "are not accepted: renew them" in verdict["reason"]


@every_source
def test_a_trigger_that_is_cancelled_or_killed_is_taken_over(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ending the task ends the watch; another triggerer goes on from what the database holds, with samples of its own."""
    case.good()
    looks: list[float] = []
    real = Looker.look
    monkeypatch.setattr(Looker, "look", lambda looker: (looks.append(time.monotonic()), real(looker))[1])
    first = GateTrigger(checks=[{**case.check, "lasting": 60.0}], begun=time.time())

    async def ended() -> int:
        task = asyncio.ensure_future(anext(first.run()))
        while not looks:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.3)
        return len(looks)

    seen = asyncio.run(ended())
    assert seen <= 2, "it looks no more"
    path, arguments = GateTrigger(checks=[case.check], begun=first.begun).serialize()
    module, _, name = path.rpartition(".")
    second = getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))

    async def taken_over() -> Any:
        return (await anext(second.run())).payload

    verdict = asyncio.run(taken_over())
    assert verdict["state"] == "pass"
    assert verdict["observed"] == len(looks) - seen >= 2, "what the first one saw does not count"


@pytest.mark.parametrize(
    ("case", "proof"),
    [("prometheus_aws", "AWS4-HMAC-SHA256"), ("prometheus_gcp", "Bearer "), ("prometheus_azure", "Bearer ")],
    indirect=["case"],
)
def test_a_managed_prometheus_is_asked_with_its_cloud_s_credentials(
    case: Case, proof: str, service: Service
) -> None:
    case.good()
    assert judged(case.check)["state"] == "pass"
    sent = [{name.lower(): value for name, value in headers.items()} for *_, headers in service.asked]
    assert all(headers["authorization"].startswith(proof) for headers in sent)
    assert len(sent) >= 2


@pytest.mark.parametrize("case", ["prometheus", "http"], indirect=True)
def test_what_never_answers_is_silent(case: Case, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "SECONDS", 0.2)
    service.answers = [None]
    query = {**case.check["query"], **({"timeout": 0.2} if case.check["source"] == "http" else {})}
    assert judged({**case.check, "query": query})["state"] == "no_data"


def test_a_real_prometheus(sandbox: Sandbox) -> None:
    name = f"m{uuid.uuid4().hex[:10]}"
    query = {"query": f"{name} / 2", "connection": "prometheus_default"}
    asked = {**QUICK, "name": "prometheus", "source": "prometheus", "query": query, "at_most": 5.0}
    assert judged(asked)["state"] == "no_data"
    direct(sandbox, "pushgateway", f"/metrics/job/{name}", f"{name} 4\n".encode(), "PUT")
    found = judged({**asked, "patience": 20.0})
    assert (found["state"], found["samples"][-1]["text"]) == ("pass", "2 (at most 5)")
    up = {**asked, "query": {**query, "query": "max(up{job='pushgateway'}) * 10"}}
    assert judged(up)["state"] == "fail"
    nothing = {**asked, "query": {**query, "query": "0 / (up * 0)"}}
    assert judged(nothing)["state"] == "no_data", "0/0 is nothing"
