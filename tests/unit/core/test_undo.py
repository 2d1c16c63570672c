"""What the approval of a release covers of its way back, and every way around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from triplane.core.approval import Decision, Policy
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.history import AUTHORIZED, ROLLOUT, body
from triplane.core.ledger import Ledger
from triplane.core.undo import SETTLED, uncovered

KEY = "k" * 40
NOW = datetime.now(UTC)
DEPLOYED = ComponentChange(
    address="aws/stack/main",
    action="replace",
    risk=Risk.HIGH,
    summary="",
    lines=("-/+ aws_lb.main: name forces replacement", "+ aws_vpc.new", '~ aws_vpc.main: tags.a "1" -> "2"'),
)
UNDONE = replace(
    DEPLOYED,
    lines=("-/+ aws_lb.main: name forces replacement", "- aws_vpc.new", '~ aws_vpc.main: tags.a "2" -> "1"'),
)
SAME = ComponentChange(address="aws/stack/other", action="none", risk=Risk.NONE, summary="")


def change_set(revision: str, *changes: ComponentChange, **more: Any) -> ChangeSet:
    return ChangeSet(
        **{
            "platform": "shop",
            "environment": "prod",
            "cloud": "aws",
            "asked": revision,
            "revision": revision,
            "source": f"source-{revision}",
            "spec": "spec",
            "policy": Policy().to_json(),
            "planned_at": NOW.isoformat(),
            "changes": changes,
            **more,
        }
    )


class Story:
    """Release r1 of B after A; another cloud failed, so it goes back to A. Tests change one thing of it."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder, "prod/aws", [KEY])
        self.original = change_set("B", DEPLOYED, SAME, release={"policy": "all_or_nothing"})
        self.undo_changes: dict[str, Any] = {}
        self.change = UNDONE
        self.decided: dict[str, Any] = {}
        self.decisions = 1
        self.run_id = "r1.aws.settle"
        self.settled: dict[str, Any] | None = {}
        self.good = True
        self.since: list[tuple[str, str]] = []
        self.age = timedelta()

    def reason(self) -> str:
        """Why it is not covered, empty if it is."""
        original = self.original
        undo = change_set(
            "A",
            self.change,
            SAME,
            **{
                "intent": "rollback",
                "undoes": {"change_set": original.digest, "run_id": "r1"},
                **self.undo_changes,
            },
        )
        if self.good:
            self.entry(AUTHORIZED, change_set("A", DEPLOYED), "r0.aws.apply")
            self.entry(ROLLOUT, change_set("A", DEPLOYED), "r0.aws.apply")
        self.entry(AUTHORIZED, original, "r1.aws.apply")
        for kind, run_id in self.since:
            self.entry(kind, change_set("C", DEPLOYED), run_id)
        if self.settled is not None:
            entry = {
                "parent": "r1",
                "run_id": "r1.aws.settle",
                "digest": original.digest,
                "source": "source-A",
            }
            self.ledger.append(SETTLED, entry | self.settled)
        decision = Decision(
            **{
                "dag_id": "deploy",
                "run_id": "r1",
                "vote": 0,
                "requester": "alice",
                "responder": "bob",
                "approved": True,
                "change_sets": {"aws": original.digest},
                "decided_at": NOW.isoformat(),
                "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
                "reason": "it is time",
                **self.decided,
            }
        )
        return uncovered(
            original,
            undo,
            [decision.sign([KEY])] * self.decisions,
            keys=[KEY],
            dag_id="deploy_aws",
            run_id=self.run_id,
            entries=self.ledger.entries(),
            now=datetime.now(UTC) + self.age,
        )

    def entry(self, kind: str, item: ChangeSet, run_id: str) -> None:
        self.ledger.append(kind, {**body(item), "run_id": run_id})


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_the_way_back_of_an_approved_release_is_covered(story: Story) -> None:
    assert story.reason() == ""


def test_it_is_covered_for_as_long_as_the_release_takes(story: Story) -> None:
    """What counts is that the decision held when the release began."""
    story.age = timedelta(hours=2)
    assert story.reason() == ""


def _set(name: str, value: Any) -> Callable[[Story], None]:
    return lambda story: setattr(story, name, value)


def _original(**changes: Any) -> Callable[[Story], None]:
    return lambda story: setattr(story, "original", replace(story.original, **changes))


def _change(**changes: Any) -> Callable[[Story], None]:
    return lambda story: setattr(story, "change", replace(story.change, **changes))


REFUSED: dict[str, tuple[Callable[[Story], None], str]] = {
    "people approved no such release": (_original(release={}), "does not say that it is rolled back"),
    "best effort": (_original(release={"policy": "best_effort"}), "does not say that it is rolled back"),
    "of a destruction": (_original(intent="destroy"), "a rollback of a destroy"),
    "it deploys": (_set("undo_changes", {"intent": "deploy"}), "a deploy of a deploy"),
    "it destroys": (_set("undo_changes", {"intent": "destroy"}), "a destroy of a deploy"),
    "another change set": (
        _set("undo_changes", {"undoes": {"change_set": "sha256:1", "run_id": "r1"}}),
        "another change set",
    ),
    "another environment": (
        _set("undo_changes", {"environment": "staging"}),
        "another platform, environment",
    ),
    "another cloud": (_set("undo_changes", {"cloud": "gcp"}), "another platform, environment or cloud"),
    "another run": (_set("run_id", "by-hand"), "only the run r1.aws.settle may"),
    "the applying run": (_set("run_id", "r1.aws.apply"), "only the run r1.aws.settle may"),
    "another parent": (
        lambda story: story.undo_changes.update(undoes={"change_set": story.original.digest, "run_id": "r2"}),
        "only the run r2.aws.settle may",
    ),
    "the release did not fail": (_set("settled", None), "the ledger does not say that r1 rolls this back"),
    "it was settled for other content": (
        _set("settled", {"digest": "sha256:1"}),
        "does not say that r1 rolls",
    ),
    "it was settled for another version": (_set("settled", {"source": "source-Z"}), "the last good version"),
    "another version": (_set("undo_changes", {"source": "source-Z"}), "the last good version before was A"),
    "nothing was good before": (_set("good", False), "no good version before"),
    "another run came since": (
        _set("since", [(AUTHORIZED, "r2.aws.apply")]),
        "r2.aws.apply has been applied since",
    ),
    "nobody approved": (_set("decisions", 0), "1 needed, 0 found"),
    "rejected": (_set("decided", {"approved": False}), "bob rejected it"),
    "held": (_set("decided", {"held": ("aws",)}), "bob holds aws back"),
    "approved for another run": (_set("decided", {"run_id": "r0"}), "it was given to run r0"),
    "expired before it began": (
        _set("decided", {"expires_at": (NOW - timedelta(hours=1)).isoformat()}),
        "it expired",
    ),
    "approved for other content": (
        _set("decided", {"change_sets": {"aws": "sha256:1"}}),
        "it is for sha256:1",
    ),
    "the plan is old": (_set("age", timedelta(hours=25)), "its plan is older"),
    "denied by policy": (_change(denied=("no",)), "a policy denies it"),
    "a component that did not change": (_change(address="aws/stack/other"), "did not change aws/stack/other"),
    "a component that is new": (_change(address="aws/stack/new"), "did not change aws/stack/new"),
    "it destroys what was there": (
        _change(lines=("- aws_vpc.old",)),
        "takes away what the release did not create: aws/stack/main: - aws_vpc.old",
    ),
    "it replaces what was there": (_change(lines=("-/+ aws_vpc.main: x",)), "takes away what the release"),
    "it loses data": (
        _change(
            lines=("! aws_s3_bucket.b: its data is lost, and no rollback brings it back", "- aws_vpc.new")
        ),
        "its data is lost",
    ),
    "it invokes an action": (_change(lines=("> action.x", "- aws_vpc.new")), "> action.x"),
    "it forgets something": (_change(lines=("x aws_vpc.new",)), "x aws_vpc.new"),
    "lines are left out": (_change(lines=("... and 3 more",)), "and 3 more"),
    "it is critical": (_change(risk=Risk.CRITICAL), "is of critical risk"),
    "it is only known later": (_change(action="deferred", lines=()), "is not known before it is applied"),
    "the whole component goes": (
        lambda story: (
            _original(changes=(replace(DEPLOYED, action="update", lines=("image: a -> b",)), SAME))(story),
            _change(action="destroy", lines=())(story),
        )[0],
        "it would destroy aws/stack/main",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_everything_else_is_asked_about(story: Story, case: str) -> None:
    arrange, reason = REFUSED[case]
    arrange(story)
    assert reason in story.reason()


def test_a_decision_that_was_edited_covers_nothing(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decision, "sign", lambda self, keys: replace(self, key="x", signature="0" * 64))
    assert "its signature is not from a worker" in story.reason()


def test_a_component_that_the_release_created_goes_again(story: Story) -> None:
    created = replace(DEPLOYED, action="create", risk=Risk.LOW, lines=())
    story.original = replace(story.original, changes=(created, SAME))
    story.change = replace(UNDONE, action="destroy", lines=())
    assert story.reason() == ""
