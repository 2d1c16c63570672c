"""Back to the source: the tasks that tell GitHub or GitLab about a run."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, TaskGroup

from triplane.factories.context import Build, retries
from triplane.forge.operators import CommitStatusOperator, PullRequestCommentOperator

ASKED = "{{ params.action in ('deploy', 'rollback', 'destroy') and not params.dry_run }}"


def source_params(build: Build) -> dict[str, Param]:
    """What CI passes with a run."""
    if build.platform.source is None:
        return {}
    description = "The number of the pull request (merge request) that shall get a comment with the changes."
    return {
        "pull_request": Param(
            None, type=["null", "integer"], minimum=1, title="Pull request", description=description
        )
    }


def tell_source(build: Build, frozen: Any, change_sets: Any, report: Any) -> None:
    """A pending status, a comment with the plan, and the status at the end; nothing without ``source``.

    They are teardowns: a run's state does not depend on them.
    """
    if build.platform.source is None:
        return
    common: dict[str, Any] = {
        "source": build.platform.source.plain(),
        "soft_fail": True,
        **retries(),
    }
    status = {
        "commit": frozen.output["revision"],
        "context": f"triplane/{build.platform.name}/{{{{ params.environment }}}}",
    }
    with TaskGroup("source"):
        pending = CommitStatusOperator(task_id="pending", **status, **common)
        comment = PullRequestCommentOperator(
            task_id="comment",
            pull_request="{{ params.pull_request }}",
            change_sets=change_sets.output["change_sets"],
            asked=ASKED,
            **common,
        )
        result = CommitStatusOperator(task_id="result", outcome_of="report", **status, **common)
    frozen >> pending
    change_sets >> comment
    [report, pending] >> result
    for task in (pending, comment, result):
        task.as_teardown()
