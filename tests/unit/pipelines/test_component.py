"""Whether a pipeline of a platform has to run."""

from __future__ import annotations

from typing import Any

import pytest

from triplane.core.errors import InputError, StaleError
from triplane.core.git import WORKING_TREE
from triplane.pipelines.component import Good, Written, check, images, plan

A, B = "a" * 40, "b" * 40
ADDRESS = "aws/pipeline/release"


def written(**changes: Any) -> Written:
    known: dict[str, Any] = {
        "system": "codepipeline",
        "options": {"pipeline": "p"},
        "inputs": {"size": "small", "vpc": "${network.vpc}", "replicas": 3, "debug": True},
        "images": {"image": "r/shop/api@sha256:1"},
    }
    return Written(**{**known, **changes})


def lookup(name: str) -> Any:
    return {"network.vpc": "vpc-1"}[name]


def good(one: Written, commit: str = A) -> Good:
    job = one.resolved(commit, lookup)
    return Good(key=job.key, commit=commit, run="7", took=commit, inputs=job.inputs)


def test_what_it_is_given() -> None:
    job = written().resolved(A, lookup)
    assert job.inputs == {
        **{"size": "small", "vpc": "vpc-1", "replicas": "3", "debug": "true"},
        "image": "r/shop/api@sha256:1",
    }
    assert job.revision == A
    assert written(revision_input="commit").resolved(A, lookup).inputs["commit"] == A
    assert written(revision_input="commit").resolved(A, lookup).revision == ""
    assert written(at_commit=False).resolved(A, lookup).revision == ""
    delivery = written(system="cloud_deploy").resolved(A, lookup)
    assert delivery.options["images"] == {"image": "r/shop/api@sha256:1"}
    assert "image" not in delivery.inputs


def test_a_platform_outside_of_git_has_no_commit_for_it() -> None:
    with pytest.raises(InputError, match="revision: newest"):
        written().resolved(WORKING_TREE, lookup)
    assert written(at_commit=False).resolved(WORKING_TREE, lookup).revision == ""


@pytest.mark.parametrize(
    ("now", "commit", "action"),
    [
        (written(), A, "none"),
        (written(), B, "update"),
        (written(at_commit=False), B, "update"),  # it was told of a commit the last time
        (written(options={"pipeline": "q"}), A, "update"),
        (written(inputs={}), A, "update"),
        (written(images={"image": "r/shop/api@sha256:2"}), A, "update"),
    ],
)
def test_it_runs_when_what_it_is_given_has_changed(now: Written, commit: str, action: str) -> None:
    change = plan(ADDRESS, now, commit, now.resolved(commit, lookup), good(written()))
    assert change.action == action
    assert change.changed == (str(change.risk) != "none")


def test_a_pipeline_that_is_not_told_of_the_commit_does_not_run_for_it() -> None:
    one = written(at_commit=False)
    assert plan(ADDRESS, one, B, one.resolved(B, lookup), good(one, A)).action == "none"
    named = written(revision_input="commit")
    assert plan(ADDRESS, named, B, named.resolved(B, lookup), good(named, A)).action == "update"


def test_the_lines_say_what_is_new() -> None:
    now = written(inputs={"size": "large", "vpc": "${network.vpc}"})
    change = plan(ADDRESS, now, B, now.resolved(B, lookup), good(written()), risk="high")
    assert change.lines == (
        f"~ commit: {A[:12]} -> {B[:12]}",
        "~ input debug: true -> (none)",
        "~ input replicas: 3 -> (none)",
        "~ input size: small -> large",
    )
    assert (str(change.risk), change.summary) == ("high", f"codepipeline runs p at {B[:12]}")


def test_what_depends_on_a_stack_that_was_not_applied_runs() -> None:
    change = plan(ADDRESS, written(), A, None, good(written()))
    assert change.action == "update"
    assert "~ input vpc: vpc-1 -> (known when it runs)" in change.lines


def test_what_is_left_alone() -> None:
    assert plan(ADDRESS, written(), B, None, good(written()), leave=True).action == "none"
    assert plan(ADDRESS, written(), B, None, None, leave=True).summary == "is left alone"


def test_only_what_was_approved_runs() -> None:
    change = plan(ADDRESS, written(), A, None, None)
    check(change, written(), A)
    assert images(change) == {"image": "r/shop/api@sha256:1"}
    for other, commit in ((written(inputs={}), A), (written(), B), (written(at_commit=False), A)):
        with pytest.raises(StaleError, match="not what was approved"):
            check(change, other, commit)
