"""Waits for a person without holding a worker slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, TaskAwaitingInput

from triplane import settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.approval import Decision
    from triplane.core.change import ChangeSet

APPROVE = "Approve"
REJECT = "Reject"


class ApprovalSensor(BaseOperator):
    """Ask one person to approve change sets, and sign the answer.

    The task parks in ``awaiting_input``. It shows what would change in each cloud, with the digests, and
    returns a signed decision (see :class:`triplane.core.approval.Decision`) that only holds for exactly
    these change sets. Map it over ``vote`` to ask several people. A rejection, an expiry, or an answer
    by the person who asked for the run fails the task for good.

    :param change_sets: cloud -> digest of a change set in the artifact store (templated)
    :param vote: which of the needed votes this is, from 0
    """

    template_fields: Sequence[str] = ("change_sets",)
    ui_color = "#fff4c2"

    def __init__(self, *, change_sets: Any, vote: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.change_sets = change_sets
        self.vote = vote

    def execute(self, context: Context) -> None:
        """Show the change sets and park until somebody answers."""
        from triplane.approval import review
        from triplane.core.approval import Policy

        change_sets = self._load()
        policy = Policy.from_json(change_sets[0].policy)
        run: Any = context["dag_run"]
        self._ask(
            context,
            subject=review.subject(change_sets),
            body=review.body(change_sets, run.triggering_user_name or "a schedule"),
            digest=review.review_digest(change_sets),
            approvers=sorted({name for item in change_sets for name in item.policy["approvers"]}),
        )
        self.log.info("Waiting for vote %d on %s", self.vote + 1, dict(self.change_sets))
        raise TaskAwaitingInput(method_name="execute_complete", timeout=timedelta(seconds=policy.expires))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Check the answer and sign it."""
        from triplane.approval import review
        from triplane.core.approval import Policy

        if "error" in event:
            raise AirflowFailException("nobody answered in time: the approval expired; start a new run")
        change_sets = self._load()
        expected = review.review_digest(change_sets)
        answered = (event.get("params_input") or {}).get("digest")
        if answered != expected:
            raise AirflowFailException(
                f"the answer is for {answered or 'no digest'}, the change sets are {expected}: nothing is approved; "
                "answer with the digest that the form shows"
            )
        decision = self._decision(context, event, change_sets)
        if not decision.approved:
            raise AirflowFailException(f"rejected by {decision.responder}")
        policies = [Policy.from_json(change_set.policy) for change_set in change_sets]
        if decision.responder == decision.requester and not all(p.requester_may_approve for p in policies):
            raise AirflowFailException(
                f"{decision.responder} asked for this run and may not approve it; clear this task to ask again"
            )
        self.log.info("Approved by %s until %s", decision.responder, decision.expires_at)
        return decision.sign(settings.signing_keys()).to_json()

    def _load(self) -> list[ChangeSet]:
        found = [settings.get_change_set(digest) for _, digest in sorted(self.change_sets.items())]
        wrong = [cs.cloud for cs in found if self.change_sets.get(cs.cloud) != cs.digest]
        if not found or wrong:
            raise AirflowFailException(f"no valid change sets to approve: {dict(self.change_sets)}")
        return found

    def _decision(
        self, context: Context, event: Mapping[str, Any], change_sets: Sequence[ChangeSet]
    ) -> Decision:
        from triplane.core.approval import Decision, Policy, decision_expiry

        run: Any = context["dag_run"]
        user = event.get("responded_by_user") or {}
        expiries = [
            decision_expiry(event["responded_at"], Policy.from_json(item.policy)) for item in change_sets
        ]
        return Decision(
            dag_id=run.dag_id,
            run_id=run.run_id,
            vote=self.vote,
            requester=run.triggering_user_name or "",
            responder=user.get("id") or user.get("name") or "",
            approved=event["chosen_options"] == [APPROVE],
            change_sets={item.cloud: item.digest for item in change_sets},
            decided_at=event["responded_at"].isoformat(),
            expires_at=min(expiries),
        )

    def _ask(
        self, context: Context, *, subject: str, body: str, digest: str, approvers: Sequence[str]
    ) -> None:
        """Write the request; Airflow keeps an earlier text after a clear, so what it kept is compared."""
        from airflow.sdk import Param
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        param = Param(digest, type="string", title="Digest of what you approve", const=digest)
        task_instance: Any = context["task_instance"]
        stored: Any = SUPERVISOR_COMMS.send(
            CreateHITLDetailPayload(
                ti_id=task_instance.id,
                options=[APPROVE, REJECT],
                subject=subject,
                body=body,
                params={"digest": param.serialize()},
                assigned_users=[{"id": name, "name": name} for name in approvers],  # type: ignore[list-item]
            )
        )
        if (stored.subject, stored.body) != (subject, body):
            raise AirflowFailException(
                "Airflow still shows the text of an earlier try, which is not what would be applied now; "
                "start a new run"
            )
