"""One message for what is new, one for what is cured, however much it is."""

from __future__ import annotations

from typing import Any

from tests.unit.drift.test_report import make_report

from triplane.drift.alarms import Alarms, raised
from triplane.drift.messages import messages


def told(report: dict[str, Any], alarms: Alarms) -> list[tuple[str, str]]:
    return [(message.event, message.subject) for message in messages(report, alarms, "https://airflow/run")]


def test_three_hundred_drifts_are_one_message() -> None:
    report = make_report(300)
    alarms = raised(report["components"], {}, alarm_after=1, run_id="r")
    (message,) = messages({**report, "repair": "drift__prod__1"}, alarms, "https://airflow/run")
    assert (message.event, message.environment, message.thread) == ("drift_found", "prod", "r")
    assert message.subject == "shop prod: 300 drifts of 1 cause"
    assert "stack: update tags.cost: 300 in aws/stack/0" in message.text
    assert "drift__prod__1" in message.text
    assert (len(message.text) < 1000, message.link) == (True, "https://airflow/run")


def test_what_is_known_is_not_told_again_and_what_is_cured_once() -> None:
    report = make_report(2)
    first = raised(report["components"], {}, alarm_after=1, run_id="r")
    assert told(report, raised(report["components"], first.known, alarm_after=1, run_id="s")) == []
    mended = [{"address": item["address"], "state": "in_sync"} for item in report["components"]]
    cured = raised(mended, first.known, alarm_after=1, run_id="s")
    assert told({**report, "groups": []}, cured) == [("drift_cured", "shop prod: 2 drifts cured")]
    assert told(report, raised(mended, cured.known, alarm_after=1, run_id="t")) == []
