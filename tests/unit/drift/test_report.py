"""A check that did not run is never in sync."""

from __future__ import annotations

from triplane.drift import report


def test_what_was_expected_but_not_checked_is_unknown() -> None:
    checks = [
        {"address": "aws/stack/network", "state": "in_sync", "resources": []},
        {
            "address": "gcp/stack/network",
            "state": "drifted",
            "resources": [{"address": "x.y", "action": "update", "attributes": [{"name": "tags"}]}],
        },
    ]
    found = report.summary(checks, ["aws/stack/network", "gcp/stack/network", "azure/stack/network"])
    assert (found["in_sync"], found["drifted"], found["unknown"]) == (1, 1, 1)
    assert report.lines(found) == [
        "gcp/stack/network: drifted",
        "    x.y: tags",
        "azure/stack/network: unknown",
        "aws/stack/network: in sync",
    ]
