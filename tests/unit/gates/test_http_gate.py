"""Gates against a server that answers, answers wrongly, and does not answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from triplane.gates.sensors import GateSensor
from triplane.gates.triggers import HttpGateTrigger
from triplane.gates.verdict import Sample, Verdict, judge


class Service:
    """Answers in turn, the last one again and again; None hangs up."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str] | None] = [(200, "ok")]
        self.asked = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = service.answers[min(service.asked, len(service.answers) - 1)]
                service.asked += 1
                if answer is None:
                    self.connection.close()
                    return
                self.send_response(answer[0])
                self.end_headers()
                self.wfile.write(answer[1].encode())

            def log_message(self, *args: Any) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def judged(url: str, **options: Any) -> Verdict:
    trigger = HttpGateTrigger(url=url, **{"lasting": 0.3, "every": 0.05, "contains": "ok", **options})
    path, arguments = trigger.serialize()
    assert path == "triplane.gates.triggers.HttpGateTrigger"

    async def first() -> Any:
        return await anext(HttpGateTrigger(**arguments).run())

    return Verdict.from_json(asyncio.run(first()).payload)


def test_what_is_good_all_the_time_passes(service: Service) -> None:
    verdict = judged(service.url)
    assert (verdict.state, verdict.passed) == ("pass", True)
    assert verdict.observed == service.asked == len(verdict.samples) > 2


def test_one_bad_answer_decides_at_once(service: Service) -> None:
    service.answers = [(200, "ok"), (503, "ok"), (200, "ok")]
    verdict = judged(service.url, lasting=30.0)
    assert verdict.state == "fail"
    assert "answers 503, not 200" in verdict.reason
    assert service.asked == 2


def test_a_text_that_is_missing_is_bad(service: Service) -> None:
    service.answers = [(200, "starting")]
    assert "without 'ok'" in judged(service.url).reason


def test_another_status_may_be_the_right_one(service: Service) -> None:
    service.answers = [(404, "ok")]
    assert judged(service.url, status=404).passed


def test_where_nothing_answers_there_is_no_data(service: Service) -> None:
    service.answers = [None]
    verdict = judged(service.url)
    assert (verdict.state, verdict.passed) == ("no_data", False)


def test_an_answer_that_is_missing_now_and_then_does_not_pass(service: Service) -> None:
    service.answers = [(200, "ok"), None, (200, "ok")]
    verdict = judged(service.url)
    assert verdict.state == "fail"
    assert "nothing was observed 1 of" in verdict.reason


def test_nothing_observed_never_passes() -> None:
    assert judge([]).state == "no_data"


def test_of_many_samples_the_last_are_kept() -> None:
    verdict = judge([Sample(str(number), True, "") for number in range(1000)])
    assert (verdict.observed, len(verdict.samples), verdict.samples[-1].at) == (1000, 100, "999")


class Instance:
    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def test_the_sensor_parks_and_lets_on_what_passes() -> None:
    gate = {"url": "http://x", "status": 200, "contains": "", "lasting": 60.0, "every": 5.0}
    with pytest.raises(TaskDeferred) as parked:
        GateSensor(task_id="gate", gate=gate).execute({})
    assert parked.value.trigger.serialize()[1] == gate
    good = judge([Sample("t", True, "fine")]).to_json()
    assert GateSensor(task_id="gate", gate=gate).execute_complete({}, good)["state"] == "pass"


@pytest.mark.parametrize("good", [False, None])
def test_the_sensor_fails_for_good_on_everything_else(good: bool | None) -> None:
    verdict, instance = judge([Sample("t", good, "what was seen")]).to_json(), Instance()
    context: Any = {"task_instance": instance}
    with pytest.raises(AirflowFailException, match=r"what was seen.*What comes after it is not deployed"):
        GateSensor(task_id="gate", gate={}).execute_complete(context, verdict)
    assert instance.pushed["verdict"] == verdict


def test_without_a_gate_stages_just_follow() -> None:
    GateSensor(task_id="gate", gate=None).execute({})
    with pytest.raises(AirflowSkipException):
        GateSensor(task_id="gate", gate={"url": "http://x"}, skip="True").execute({})
