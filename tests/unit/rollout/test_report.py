"""A report says which cloud and which component failed, and how the others stand."""

from __future__ import annotations

from triplane.core.change import Result
from triplane.rollout import report


def result(address: str, state: str = "deployed") -> Result:
    return Result(address=address, version="r@sha256:" + "a" * 64, state=state, seconds=1.26)  # type: ignore[arg-type]


def test_failures_are_named_and_the_rest_is_counted() -> None:
    rows = [
        report.row("aws", "aws/stack/network", "success", result("aws/stack/network", "unchanged")),
        report.row("aws", "aws/chart/ingest", "failed", None),
        report.row("aws", "aws/function/webhook", "upstream_failed", None),
        report.row("gcp", "gcp/chart/ingest", "success", result("gcp/chart/ingest")),
    ]
    assert report.problems(rows) == [
        "aws: chart/ingest failed, function/webhook not started (1 of 3 components are as approved)"
    ]


def test_a_task_that_succeeded_without_a_result_is_not_taken_for_done() -> None:
    row = report.row("aws", "aws/chart/ingest", "success", None)
    assert row["state"] == "unknown"
    assert report.problems([row])


def test_a_stale_result_of_a_failed_task_does_not_count() -> None:
    row = report.row("aws", "aws/chart/ingest", "failed", result("aws/chart/ingest"))
    assert row["state"] == "failed"


def test_what_was_rolled_back_says_which_version_serves() -> None:
    row = report.row("aws", "aws/chart/ingest", "failed", result("aws/chart/ingest", "rolled_back"))
    assert (row["state"], row["version"]) == ("rolled_back", "r@sha256:" + "a" * 64)
    assert report.problems([row]) == ["aws: chart/ingest rolled_back (0 of 1 components are as approved)"]


def test_table_is_aligned_and_digests_are_short() -> None:
    lines = report.table([report.row("gcp", "gcp/chart/ingest", "success", result("gcp/chart/ingest"))])
    assert lines[0].split() == ["cloud", "component", "version", "state", "seconds"]
    assert lines[1].split() == ["gcp", "chart/ingest", "r@sha256:" + "a" * 12, "deployed", "1.3"]
