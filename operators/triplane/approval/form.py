"""The form that a reviewer fills in, and what his answer means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from airflow.sdk import Param

from triplane.approval.review import review_digest
from triplane.core.approval import Decision, Policy
from triplane.core.asked import DIGEST, HOLD, REASON
from triplane.core.change import ChangeSet
from triplane.core.errors import RefusedError
from triplane.core.words import cloud as cloud_name


class Answer(NamedTuple):
    """What somebody filled in: the clouds that he holds back, and why he decides so."""

    held: tuple[str, ...]
    reason: str


def params(change_sets: Sequence[ChangeSet]) -> dict[str, Param]:
    """The form's fields: the digest, a reason, and whether to hold back each of several clouds that would change."""
    digest = review_digest(change_sets)
    needed = reason_needed(change_sets)
    changing = [change_set.cloud for change_set in change_sets if change_set.changed]
    fields = {
        DIGEST: Param(digest, type="string", title="Digest of what you approve", const=digest),
        REASON: Param("", type="string", title="Reason" if needed else "Reason (optional)"),
    }
    for cloud in changing if len(changing) > 1 else ():
        title = f"Hold back {cloud_name(cloud)}"
        fields[f"{HOLD}{cloud}"] = Param(False, type="boolean", title=title)
    return fields


def read(given: Any, change_sets: Sequence[ChangeSet]) -> Answer:
    """The answer, from what came back with it. :raises RefusedError: it is not about these change sets"""
    answer = given if isinstance(given, Mapping) else {}
    expected = review_digest(change_sets)
    if answer.get(DIGEST) != expected:
        raise RefusedError(
            f"the answer is for {answer.get(DIGEST) or 'no digest'}, the change sets are {expected}: nothing is "
            "approved; answer with the digest that the form shows"
        )
    clouds = {change_set.cloud for change_set in change_sets}
    held = []
    for name, value in answer.items():
        if name.startswith(HOLD) and value is not False:
            if value is not True or name.removeprefix(HOLD) not in clouds:
                raise RefusedError(f"{name}={value!r} is not an answer to this question: nothing is approved")
            held.append(name.removeprefix(HOLD))
    return Answer(tuple(sorted(held)), str(answer.get(REASON) or "").strip())


def check(decision: Decision, answer: Answer, change_sets: Sequence[ChangeSet]) -> None:
    """Make sure that ``decision`` approves something. :raises RefusedError: it does not"""
    if not decision.approved:
        why = f": {decision.reason}" if decision.reason else ""
        raise RefusedError(f"rejected by {decision.responder}{why}")
    if not decision.change_sets:
        raise RefusedError(f"{decision.responder} holds back every cloud: nothing is approved")
    policies = [Policy.from_json(change_set.policy) for change_set in change_sets]
    own = all(policy.requester_may_approve for policy in policies)
    if why := decision.barred((), requester_may_approve=own):
        raise RefusedError(f"{why}; clear this task to ask again")
    if not answer.reason and reason_needed(change_sets):
        raise RefusedError(
            f"{decision.responder} gave no reason, which the policy wants for this risk: nothing is approved; clear "
            "this task to ask again"
        )


def reason_needed(change_sets: Sequence[ChangeSet]) -> bool:
    """Whether who approves all of these must say why."""
    return any(
        Policy.from_json(item.policy).needs_reason(item.risk, emergency=bool(item.emergency))
        for item in change_sets
    )
