"""A check that did not run is never in sync."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from triplane.core.drift import finding, judge
from triplane.drift import report
from triplane.drift.alarms import groups, raised

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


def test_what_was_expected_but_not_checked_is_unknown() -> None:
    checks = [
        {"address": "aws/stack/network", "state": "in_sync", "resources": [], "cured": ["aws_vpc.main"]},
        {"address": "aws/stack/cluster", "state": "pending", "resources": [], "pending": "1 to add"},
        {
            "address": "gcp/stack/network",
            "state": "drifted",
            "resources": [
                {
                    "address": "x.y",
                    "action": "update",
                    "attributes": [{"name": "tags"}],
                    "first_seen": "2026-11-22T06:00:01+00:00",
                }
            ],
        },
        {
            "address": "azure/stack/network",
            "state": "unknown",
            "resources": [],
            "error": "no credentials",
            "last_good": "2026-11-20T06:00:00+00:00",
        },
    ]
    expected = [check["address"] for check in checks] + ["azure/stack/cluster"]
    found = report.summary(checks, expected)
    assert {state: found[state] for state in report.STATES} == {
        "missing": 0,
        "drifted": 1,
        "unmanaged_change": 0,
        "unknown": 2,
        "pending": 1,
        "in_sync": 1,
    }
    assert report.lines(found, NOW) == [
        "gcp/stack/network: drifted",
        "    x.y: tags (since 2026-11-22T06:00)",
        "azure/stack/network: unknown (no credentials; the last good check was 3.0 days ago)",
        "azure/stack/cluster: unknown (there is no answer; the log of its check says why)",
        "aws/stack/cluster: pending (not applied yet: 1 to add)",
        "aws/stack/network: in sync",
        "    cured: aws_vpc.main",
    ]


def test_the_age_of_a_check() -> None:
    assert report.age("2026-11-23T04:30:00+00:00", NOW) == "the last good check was 1.5 h ago"


def test_coverage_says_what_was_not_checked_and_which_answer_is_the_oldest() -> None:
    components = [
        {"address": "aws/stack/a", "state": "in_sync", "last_good": "2026-11-23T06:00:00+00:00"},
        {"address": "aws/stack/b", "state": "unknown", "last_good": "2026-11-20T06:00:00+00:00"},
        {"address": "aws/chart/c", "state": "drifted", "last_good": "2026-11-23T07:00:00+01:00"},
        {"address": "gcp/stack/d", "state": "unknown"},
    ]
    found = report.coverage(components)
    assert (found["checked"], found["expected"], found["never"]) == (2, 4, 1)
    assert found["by"]["aws"] == {
        "stack": {"checked": 1, "expected": 2},
        "chart": {"checked": 1, "expected": 1},
    }
    assert found["oldest_good"] == {"address": "aws/stack/b", "last_good": "2026-11-20T06:00:00+00:00"}
    assert report.coverage([])["oldest_good"] is None


@given(
    st.lists(st.tuples(st.sampled_from(report.STATES), st.integers(0, 20_000)), max_size=60),
    st.integers(2_000, 60_000),
)
def test_what_airflow_keeps_is_bounded_and_the_worst_comes_first(
    parts: list[tuple[str, int]], limit: int
) -> None:
    components = [
        {"address": f"aws/stack/{number}", "state": state, "error": "x" * size}
        for number, (state, size) in enumerate(parts)
    ]
    found = report.bounded({"components": components, "groups": [], "run_id": "r"}, limit)
    assert len(json.dumps(found)) <= limit
    assert len(found["components"]) + found["left_out"]["components"] == len(components)
    order = [report.STATES.index(item["state"]) for item in found["components"]]
    assert order == sorted(order)


def test_a_thousand_components_that_all_drifted_fit() -> None:
    full = make_report(1000)
    short = report.bounded(full)
    assert len(json.dumps(full)) > 300_000
    assert len(json.dumps(short)) <= report.XCOM_BYTES
    assert (short["drifted"], short["groups"]) == (1000, full["groups"])
    assert len(json.dumps(report.extra(full))) < 5_000


def test_the_markdown_names_the_cause_once_and_every_component() -> None:
    text = report.markdown(make_report(30), NOW)
    assert "| drifted | 30 |" in text
    assert "Checked: 30 of 30." in text
    causes = [line for line in text.splitlines() if line.startswith("- ")]
    assert causes == [
        "- **alarm** stack: update tags.cost: 30 in aws/stack/0, aws/stack/1, aws/stack/2, aws/stack/3, aws/stack/4"
        " and 25 more (since 2026-11-23T06:00)"
    ]
    assert text.count("aws_vpc.main: tags.cost (since 2026-11-23T06:00)") == 30


def make_report(count: int) -> dict[str, Any]:
    """All components have the same drift."""
    attribute = {"name": "tags.cost", "before": '"a"' * 10, "after": '"b"' * 10}
    components = [
        judge(
            f"aws/stack/{number}", [finding("aws_vpc.main", "update", [attribute])], now=NOW, run="r"
        ).to_json()
        for number in range(count)
    ]
    alarms = raised(components, {}, alarm_after=1, run_id="r")
    found = report.summary(components, [item["address"] for item in components])
    return {
        **found,
        "platform": "shop",
        "environment": "prod",
        "run_id": "r",
        "dag_id": "drift_check",
        "at": NOW.isoformat(),
        "revision": "c0ffee",
        "alarms": {"known": count, "new": count, "cured": 0},
        "kept_as": "drift-reports/prod/r",
        "coverage": report.coverage(found["components"]),
        "groups": groups(found["components"], alarms),
    }
