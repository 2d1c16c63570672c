"""The sensor and its trigger against a server that answers, answers wrongly, and does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from tests.unit.gates.services import Service, serving, vector

from triplane.gates.sensors import GateSensor
from triplane.gates.triggers import GateTrigger
from triplane.gates.verdict import Verdict


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as made:
        yield made


def answers(url: str, **options: Any) -> dict[str, Any]:
    return {
        **{"name": "answers", "source": "http", "query": {"url": url, "contains": "ok"}},
        **{"lasting": 0.25, "every": 0.05, "patience": 0.2},
        **options,
    }


def judged(*checks: dict[str, Any], begun: float | None = None, before: float | None = None) -> Verdict:
    began = time.time() if begun is None else begun
    path, arguments = GateTrigger(checks=checks, begun=began, before=before).serialize()
    assert path == "triplane.gates.triggers.GateTrigger"

    async def first() -> Any:
        return await anext(GateTrigger(**arguments).run())

    return Verdict.from_json(asyncio.run(first()).payload)


def test_what_is_good_all_the_time_passes(service: Service) -> None:
    verdict = judged(answers(service.url))
    assert (verdict.state, verdict.passed) == ("pass", True)
    assert verdict.observed == len(service.asked) == len(verdict.samples) >= 2


def test_one_bad_answer_decides_at_once(service: Service) -> None:
    service.answers = [(200, "ok"), (503, "ok"), (200, "ok")]
    verdict = judged(answers(service.url, lasting=30.0))
    assert verdict.state == "fail"
    assert "answers 503, not 200" in verdict.reason
    assert len(service.asked) == 2


def test_a_text_that_is_missing_is_bad(service: Service) -> None:
    service.answers = [(200, "starting")]
    assert "without 'ok'" in judged(answers(service.url)).reason


def test_another_status_may_be_the_right_one(service: Service) -> None:
    service.answers = [(404, "ok")]
    assert judged(answers(service.url, query={"url": service.url, "status": 404})).passed


@pytest.mark.parametrize("no_data", ["wait", "fail"])
def test_where_nothing_answers_there_is_no_data(service: Service, no_data: str) -> None:
    service.answers = [None]
    verdict = judged(answers(service.url, no_data=no_data))
    assert (verdict.state, verdict.passed) == ("no_data", False)
    assert len(service.asked) == 1 if no_data == "fail" else len(service.asked) > 1


def test_silence_is_a_break_after_which_the_time_is_counted_anew(service: Service) -> None:
    service.answers = [(200, "ok"), (200, "ok"), None, (200, "ok")]
    verdict = judged(answers(service.url, lasting=1.0, patience=10.0))
    assert verdict.passed
    after = [sample for sample in verdict.samples[3:] if sample.good]
    assert verdict.observed == 3 + len(after)
    assert len(after) >= 2


def test_several_checks_are_watched_at_once_and_the_worst_decides(service: Service) -> None:
    with serving(vector(1), vector(1), vector(9)) as metrics:
        low = {
            "name": "low",
            "source": "prometheus",
            "query": {"query": "x", "url": metrics.url},
            "at_most": 5,
        }
        verdict = judged(answers(service.url, lasting=20.0), answers(metrics.url, lasting=20.0) | low)
    assert (verdict.state, verdict.reason[:20]) == ("fail", "low: 9 (at most 5) a")
    assert {sample.check for sample in verdict.samples} == {"low"}, "what was decided before it ended"
    assert service.asked


def test_a_triggerer_that_takes_over_gives_up_at_the_same_moment(service: Service) -> None:
    service.answers = [None]
    began = time.monotonic()
    assert (
        judged(answers(service.url, lasting=300.0, patience=0.1), begun=time.time() - 300).state == "no_data"
    )
    assert time.monotonic() - began < 60


def test_a_triggerer_that_takes_over_does_not_take_the_time_before_for_good(service: Service) -> None:
    verdict = judged(answers(service.url, patience=60.0), begun=time.time() - 30)
    assert verdict.passed
    assert verdict.observed >= 2, (
        "it was good since before this watch, but nobody of this process has seen it"
    )


def test_a_trigger_that_is_cancelled_asks_no_more(service: Service) -> None:
    async def cancelled() -> int:
        trigger = GateTrigger(checks=[answers(service.url, lasting=60.0)], begun=time.time())
        task = asyncio.ensure_future(anext(trigger.run()))
        while not service.asked:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.1)
        asked = len(service.asked)
        await asyncio.sleep(0.2)
        assert len(service.asked) == asked
        return asked

    assert asyncio.run(cancelled()) >= 1


class Instance:
    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def test_the_sensor_parks_and_lets_on_what_passes(service: Service) -> None:
    sensor = GateSensor(task_id="gate", checks=[answers(service.url)], before="2026-01-01T00:00:00+00:00")
    with pytest.raises(TaskDeferred) as parked:
        sensor.execute({})
    arguments = parked.value.trigger.serialize()[1]
    assert arguments["before"] == 1767225600.0
    assert arguments["checks"][0]["query"]["url"] == service.url
    assert sensor.execute_complete({}, judged(*arguments["checks"]).to_json())["state"] == "pass"


def test_the_sensor_can_watch_in_the_worker(service: Service) -> None:
    sensor = GateSensor(task_id="gate", checks=[answers(service.url)], deferrable=False)
    found = sensor.execute({})
    assert found is not None
    assert (found["state"], found["observed"]) == ("pass", len(service.asked))


@pytest.mark.parametrize(("answer", "state"), [((500, "x"), "fail"), (None, "no_data")])
def test_the_sensor_fails_for_good_on_everything_else(service: Service, answer: Any, state: str) -> None:
    service.answers = [answer]
    instance = Instance()
    context: Any = {"task_instance": instance}
    sensor = GateSensor(task_id="gate", checks=[answers(service.url)], deferrable=False)
    with pytest.raises(AirflowFailException, match=rf"\({state}\).*What comes after it is not deployed"):
        sensor.execute(context)
    assert instance.pushed["verdict"]["state"] == state


def test_a_check_that_makes_no_sense_is_said_at_once(service: Service) -> None:
    for wrong, said in (
        ({"every": 99}, "at most `lasting`"),
        ({"source": "x"}, "none of"),
        ({"y": 1}, "'y'"),
    ):
        with pytest.raises(AirflowFailException, match=said):
            GateSensor(task_id="gate", checks=[answers(service.url, **wrong)]).execute({})
    with pytest.raises(AirflowFailException, match="no moment"):
        GateSensor(task_id="gate", checks=[answers(service.url)], before="yesterday").execute({})


def test_without_a_gate_stages_just_follow(service: Service) -> None:
    assert GateSensor(task_id="gate", checks=[]).execute({}) is None
    with pytest.raises(AirflowSkipException):
        GateSensor(task_id="gate", checks=[answers(service.url)], skip="True").execute({})
    assert not service.asked
