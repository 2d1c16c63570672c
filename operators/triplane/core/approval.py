"""Who must agree to a change set, and the signed decisions that prove that they did.

A decision is signed by the approval task with a key that only workers hold, so that neither an edited
XCom nor a run configuration nor a task marked successful by hand can stand in for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from triplane.core.calendar import Calendar
from triplane.core.change import ChangeSet, Risk
from triplane.core.errors import RefusedError, StaleError
from triplane.core.runs import apply_run_id
from triplane.core.signed import Answer


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One environment's approval policy.

    ``votes`` says how many different people each risk needs; a risk that is not named needs one. ``emergency`` is how
    many, at least, an emergency needs. ``expires`` is how long a decision holds, and ``plan_max_age`` how old a plan may
    be when it is applied, in seconds. ``remind`` is after how many seconds without an answer people are reminded, and
    again after as many; 0 for never. ``approvers`` are user names; empty means anybody whom Airflow lets respond.
    ``required`` maps a risk to groups, by name with their users: of each, somebody must be among those who approve.
    From the risk ``reason_from`` on an approval needs a reason; ``never`` for none. ``calendar`` says when the
    environment may be changed, see :class:`triplane.core.calendar.Calendar`.
    """

    votes: Mapping[str, int] = field(default_factory=dict)
    emergency: int = 2
    expires: float = 86400.0
    plan_max_age: float = 86400.0
    remind: float = 0.0
    requester_may_approve: bool = False
    approvers: tuple[str, ...] = ()
    required: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    reason_from: str = "high"
    calendar: Mapping[str, Any] = field(default_factory=dict)

    def needed(self, risk: Risk, *, emergency: bool = False) -> int:
        """How many people must approve a change of this risk; none for no change."""
        if risk is Risk.NONE:
            return 0
        return max(self.votes.get(str(risk), 1), self.emergency if emergency else 0)

    def needs_reason(self, risk: Risk, *, emergency: bool = False) -> bool:
        """Whether who approves a change of this risk must say why."""
        if self.reason_from == "never":
            return False
        return emergency or (risk is not Risk.NONE and risk >= Risk.parse(self.reason_from))

    def groups(self, risk: Risk) -> Mapping[str, Sequence[str]]:
        """The groups of which somebody must approve a change of this risk, with their users."""
        return self.required.get(str(risk), {})

    def to_json(self) -> dict[str, Any]:
        """Plain values: they are part of the change set, and so of what is approved."""
        required = {
            risk: {name: list(users) for name, users in of.items()} for risk, of in self.required.items()
        }
        plain = {
            "votes": dict(self.votes),
            "approvers": list(self.approvers),
            "calendar": dict(self.calendar),
        }
        return {**vars(self), **plain, "required": required}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Policy:
        """The inverse of :meth:`to_json`."""
        return cls(**{**value, "approvers": tuple(value.get("approvers", ()))})


@dataclass(frozen=True, kw_only=True)
class Decision(Answer):
    """One person's answer. ``change_sets`` maps each cloud that is approved to the digest that was shown.

    ``vote`` says which approval task asked, and ``votes`` how many of them did; ``held`` are the clouds that this person
    holds back. ``expires_at`` is ISO 8601 with a zone.
    """

    vote: int
    change_sets: Mapping[str, str]
    expires_at: str
    votes: int = 1
    held: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for XCom."""
        return {**asdict(self), "change_sets": dict(self.change_sets), "held": list(self.held)}

    @classmethod
    def from_json(cls, value: Any) -> Decision:
        """The inverse of :meth:`to_json`. :raises RefusedError: ``value`` is not a decision"""
        try:
            return cls(**{**value, "held": tuple(value.get("held", ()))})
        except (TypeError, AttributeError):
            raise RefusedError(
                "the approval holds no signed decision; approve the change set again"
            ) from None


def votes_needed(change_set: ChangeSet) -> int:
    """How many different people must approve ``change_set``."""
    policy = Policy.from_json(change_set.policy)
    return policy.needed(change_set.risk, emergency=bool(change_set.emergency))


def closed(change_set: ChangeSet, now: datetime) -> str:
    """Why ``change_set`` may not be begun to be applied at ``now``; empty if it may."""
    if change_set.emergency or not change_set.changed:
        return ""
    return Calendar.from_json(Policy.from_json(change_set.policy).calendar).closed(now)


def decision_expiry(decided_at: datetime, policy: Policy) -> str:
    """When a decision made at ``decided_at`` stops to hold."""
    return (decided_at + timedelta(seconds=policy.expires)).isoformat()


def verify(
    change_set: ChangeSet,
    decisions: Sequence[Decision],
    *,
    keys: Sequence[str],
    dag_id: str,
    run_id: str,
    now: datetime,
) -> None:
    """Make sure that ``decisions`` allow run ``run_id`` of ``dag_id`` to apply ``change_set`` now.

    :raises RefusedError: they do not; the message says which condition fails
    :raises StaleError: the change set is older than its policy allows
    """
    policy = Policy.from_json(change_set.policy)
    needed = votes_needed(change_set)
    where = f"{change_set.cloud}/{change_set.environment}"
    if change_set.denied:
        raise RefusedError(f"{where}: denied by policy: {'; '.join(change_set.denied)}")
    if len(decisions) < needed:
        raise RefusedError(
            f"{where}: {change_set.digest} is not approved: {needed} needed, {len(decisions)} found"
        )
    for decision in decisions:
        if problem := _problem(decision, change_set, policy, keys, dag_id, run_id, now):
            raise RefusedError(f"{where}: the approval does not hold: {problem}")
    if missing := next((each.votes for each in decisions if each.votes > len(decisions)), None):
        raise RefusedError(f"{where}: {missing} people were asked, and {len(decisions)} answers are there")
    people = {decision.responder_id or decision.responder for decision in decisions}
    if len(people) < needed:
        raise RefusedError(f"{where}: {needed} different people must approve, only {len(people)} did")
    for group, users in policy.groups(change_set.risk).items():
        if not any(decision.known_as & set(users) for decision in decisions):
            raise RefusedError(
                f"{where}: a change of {change_set.risk} risk must be approved by somebody of {group} "
                f"({', '.join(users)}); clear an approval so that one of them answers it, or start a new run"
            )
    age = (now - datetime.fromisoformat(change_set.planned_at)).total_seconds()
    if age > policy.plan_max_age:
        raise StaleError(
            f"{where}: this was planned at {change_set.planned_at}, {_hours(age)} ago; the environment's policy "
            f"lets a plan be applied for {_hours(policy.plan_max_age)} (plan_max_age). Nothing was applied; "
            "start a new run to plan and approve it again"
        )


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _problem(
    decision: Decision,
    change_set: ChangeSet,
    policy: Policy,
    keys: Sequence[str],
    dag_id: str,
    run_id: str,
    now: datetime,
) -> str:
    shown = decision.change_sets.get(change_set.cloud)
    reason_needed = policy.needs_reason(change_set.risk, emergency=bool(change_set.emergency))
    own_run = (decision.dag_id, decision.run_id) == (dag_id, run_id)
    if not decision.signed_by(keys):
        return "its signature is not from a worker of this installation, or its content was changed"
    if not decision.approved:
        return f"{decision.responder} rejected it"
    if change_set.cloud in decision.held:
        return f"{decision.responder} holds {change_set.cloud} back" + (
            f": {decision.reason}" if decision.reason else ""
        )
    if reason_needed and not decision.reason:
        return f"{decision.responder} gave no reason"
    if shown != change_set.digest:
        return f"it is for {shown or 'another cloud'}, not for {change_set.digest}"
    if not own_run and run_id != apply_run_id(decision.run_id, change_set.cloud):
        return f"it was given to run {decision.run_id}, not to {run_id}"
    if now >= datetime.fromisoformat(decision.expires_at):
        return f"it expired at {decision.expires_at}; ask again"
    return decision.barred(policy.approvers, requester_may_approve=policy.requester_may_approve)
