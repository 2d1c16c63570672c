"""A check that did not run is never in sync."""

from __future__ import annotations

from datetime import UTC, datetime

from triplane.drift import report

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
        "drifted": 1,
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
