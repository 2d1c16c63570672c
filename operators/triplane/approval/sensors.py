"""Waits for a person without holding a worker slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from triplane import settings
from triplane.core.asked import APPROVE
from triplane.core.errors import RefusedError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.approval.form import Answer
    from triplane.core.approval import Decision
    from triplane.core.change import ChangeSet


class ApprovalSensor(BaseOperator):
    """Ask one person to approve change sets, and sign the answer.

    The task parks in ``awaiting_input``. It shows what would change in each cloud, with the digests, and
    returns a signed decision (see :class:`triplane.core.approval.Decision`) that only holds for exactly
    these change sets, without the clouds that the person holds back. Map it over ``vote`` to ask several people.
    A rejection, an expiry, or an answer by the person who asked for the run fails the task for good; an answer without
    the reason that the policy wants does too: clear the task to ask again.

    :param change_sets: cloud -> digest of a change set in the artifact store (templated)
    :param vote: which of the needed votes this is, from 0
    :param votes: how many people are asked
    :param notify: whom to tell that an approval is needed, see :func:`triplane.notify.send.notify`
    """

    template_fields: Sequence[str] = ("change_sets",)
    ui_color = "#fff4c2"

    def __init__(
        self,
        *,
        change_sets: Any,
        vote: int = 0,
        votes: int = 1,
        notify: Sequence[Mapping[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.notify = notify
        self.change_sets = change_sets
        self.vote = vote
        self.votes = votes

    def execute(self, context: Context) -> None:
        """Show the change sets and park until somebody answers."""
        from triplane.approval import form, review
        from triplane.core.approval import Policy
        from triplane.questions import pose

        change_sets = self._load()
        policies = [Policy.from_json(change_set.policy) for change_set in change_sets]
        run: Any = context["dag_run"]
        for line in review.every_line(change_sets):
            self.log.info("%s", line)
        # Before the question is there: who answers while this task is still busy makes Airflow fail it.
        self._tell(context, change_sets)
        self.log.info("Asking for vote %d of %d on %s", self.vote + 1, self.votes, dict(self.change_sets))
        requester = run.triggering_user_name or "a schedule"
        try:
            pose(
                context,
                subject=review.subject(change_sets),
                body=review.body(change_sets, requester, self._log_link(context)),
                params=form.params(change_sets),
                approvers=sorted({name for policy in policies for name in policy.approvers}),
                within=min(policy.expires for policy in policies),
                method="execute_complete",
                kwargs={},
            )
        except RefusedError as error:
            raise AirflowFailException(str(error)) from error

    def execute_complete(
        self, context: Context, event: dict[str, Any], asked_at: str | None = None
    ) -> dict[str, Any]:
        """Check the answer and sign it. ``asked_at`` is when the question was asked."""
        from triplane.approval import form
        from triplane.questions import tell_waiting

        if asked_at:
            tell_waiting(context, event, "approval", datetime.fromisoformat(asked_at))
        if "error" in event:
            raise AirflowFailException("nobody answered in time: the approval expired; start a new run")
        change_sets = self._load()
        try:
            answer = form.read(event.get("params_input"), change_sets)
            decision = self._decision(context, event, change_sets, answer)
            form.check(decision, answer, change_sets)
        except RefusedError as error:
            raise AirflowFailException(str(error)) from error
        held = f", but for {', '.join(decision.held)}" if decision.held else ""
        self.log.info("Approved by %s until %s%s", decision.responder, decision.expires_at, held)
        return decision.sign(settings.signing_keys()).to_json()

    def _log_link(self, context: Context) -> str:
        from triplane.approval.links import log_link

        instance: Any = context["task_instance"]
        return log_link(context["dag_run"], instance.task_id, instance.map_index)

    def _load(self) -> list[ChangeSet]:
        found = [settings.get_change_set(digest) for _, digest in sorted(self.change_sets.items())]
        wrong = [cs.cloud for cs in found if self.change_sets.get(cs.cloud) != cs.digest]
        if not found or wrong:
            raise AirflowFailException(f"no valid change sets to approve: {dict(self.change_sets)}")
        return found

    def _tell(self, context: Context, change_sets: Sequence[ChangeSet]) -> None:
        """Tell people, once for all votes."""
        if self.vote or not self.notify:
            return
        from triplane.approval import review
        from triplane.notify.links import decision_link
        from triplane.notify.message import Message
        from triplane.notify.send import notify

        run: Any = context["dag_run"]
        changed = [change for change_set in change_sets for change in change_set.changed]
        lines = [f"- {c.address}: {c.action}, risk {c.risk}. {c.summary}" for c in changed]
        message = Message(
            event="approval_needed",
            environment=change_sets[0].environment,
            subject=f"Approval needed: {review.subject(change_sets)}",
            text="\n".join(lines),
            link=decision_link(context),
            thread=run.run_id,
        )
        notify(self.notify, message)

    def _decision(
        self, context: Context, event: Mapping[str, Any], change_sets: Sequence[ChangeSet], answer: Answer
    ) -> Decision:
        from triplane.core.approval import Decision, Policy, decision_expiry
        from triplane.questions import responder

        run: Any = context["dag_run"]
        name, known_as = responder(event)
        expiries = [
            decision_expiry(event["responded_at"], Policy.from_json(item.policy)) for item in change_sets
        ]
        return Decision(
            dag_id=run.dag_id,
            run_id=run.run_id,
            vote=self.vote,
            votes=self.votes,
            requester=run.triggering_user_name or "",
            responder=name,
            responder_id=known_as,
            approved=event["chosen_options"] == [APPROVE],
            change_sets={item.cloud: item.digest for item in change_sets if item.cloud not in answer.held},
            held=answer.held,
            reason=settings.redactor()(answer.reason),
            decided_at=event["responded_at"].isoformat(),
            expires_at=min(expiries),
        )
