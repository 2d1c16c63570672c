"""Apply an approved plan: that plan, once, on the state it was made for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from triplane import settings
from triplane.applying import Applying
from triplane.core.errors import InputError, RefusedError
from triplane.terraform.operators.base import TerraformOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange
    from triplane.terraform.apply import Applied, Held
    from triplane.terraform.plan import State
    from triplane.terraform.stack import Planned, Source, Stack


class TerraformApplyOperator(Applying, TerraformOperator):
    """Apply an approved plan: that plan, once, on the state it was made for. Returns a ``Result`` as JSON.

    Takes the same arguments as the :class:`TerraformPlanOperator` that made the change. A retry finds what the
    killed try left: a Terraform that still runs, its result, or a stack that is half done; the last needs a new
    plan and a new approval, and is refused here (:class:`TerraformApplyOrAskOperator` asks).

    Takes ``change``, ``change_set`` and ``authorization``, see :class:`triplane.applying.Applying`.
    """

    template_fields: Sequence[str] = (*TerraformOperator.template_fields, *Applying.approval_fields)

    destroys = False
    """Whether the plan that was approved destroys the stack."""
    shown: frozenset[str] = frozenset()
    """What people have seen of it, line by line."""

    def work(self, context: Context) -> Any:
        """Check the approval against what is here, then apply."""
        return self.result(context)

    def result(self, context: Context) -> dict[str, Any]:
        """Apply, or :meth:`hold` what goes beyond the approval."""
        from triplane.terraform.apply import Held
        from triplane.terraform.plan import State
        from triplane.terraform.stack import check_binds

        started = time.monotonic()
        approved = self.approved(context)
        if approved is None:
            raise InputError("there is no plan to apply; give `change` or `change_set`")
        self.shown = frozenset(approved.lines)
        if not approved.changed:
            state = State(serial=int(approved.binds.get("serial", 0)))
            return self._result("unchanged", approved.summary, state, started)
        source = self.stack_source()
        check_binds(approved, self.inputs(source, destroy=self.destroys))
        store = settings.artifact_store()
        lock = store.get(str(approved.binds["lock"])) if "lock" in approved.binds else None
        with self.opened(source, self.secret_variables(), lock=lock) as stack:
            done = self._apply(context, stack, approved)
            if isinstance(done, Held):
                self.hold(context, stack, source, done)
                return self._result("held", done.planned.summary, done.planned.state, started)
        self.put_outputs(done.state)
        did = "destroyed" if self.destroys else "deployed"
        return self._result(did if done.changed else "unchanged", done.summary, done.state, started)

    def hold(self, context: Context, stack: Stack, source: Source, held: Held) -> None:
        """There is nobody to ask. :raises RefusedError: always"""
        raise RefusedError(
            f"this needs a new approval ({held.planned.summary}): {'; '.join(held.notes)}. "
            "Nothing more was applied; run again to plan and approve what is left to do"
        )

    def unasked(self, planned: Planned) -> bool:
        """Whether a new plan may be applied without asking anybody."""
        return False

    def _apply(self, context: Context, stack: Stack, approved: ComponentChange) -> Applied | Held:
        from triplane.terraform.apply import apply
        from triplane.terraform.attempt import Attempt

        run = context["dag_run"]
        return apply(
            stack,
            approved,
            Attempt.at(approved, address=self.address, run=f"{run.dag_id}/{run.run_id}"),
            ledger=settings.ledger(self.scope),
            store=settings.artifact_store(),
            make_plan=lambda: self.make_plan(stack, destroy=self.destroys),
            unasked=self.unasked,
        )

    def _result(self, state: Any, summary: str, found: State, started: float) -> dict[str, Any]:
        from triplane.core.change import Result

        result = Result(
            address=self.address,
            version=f"serial {found.serial}",
            state=state,
            seconds=time.monotonic() - started,
            details={"summary": summary},
        )
        self.log.info("%s: %s, %s (%s)", self.address, result.state, result.version, summary)
        return result.to_json()


class TerraformDestroyOperator(TerraformApplyOperator):
    """Apply an approved plan that destroys a stack. A retry destroys what is left, and nothing that was not approved.

    Takes the same arguments as the :class:`TerraformPlanOperator` with ``intent="destroy"`` that made the change.
    """

    goes_on = True
    destroys = True

    def unasked(self, planned: Planned) -> bool:
        """Whether people have seen every line of the new plan."""
        from triplane.terraform.summary import change_lines

        return self.shown.issuperset(change_lines(planned.plan))


class TerraformApplyOrAskOperator(TerraformApplyOperator):
    """Apply what was approved; what turns out to be more is planned, kept, and asked about.

    Returns what to ask people: the arguments of one approval sensor for each approval that is needed, none if
    the stack is as approved. Pushes the ``Result`` as the XCom ``result`` and, if people have to be asked, the
    digest of a change set of this one stack as ``change_set``, for a :class:`TerraformApplyOperator` after the
    approval.
    """

    goes_on = True

    def work(self, context: Context) -> list[dict[str, Any]]:
        """Apply, or ask."""
        self._questions: list[dict[str, Any]] = []
        result = self.result(context)
        context["task_instance"].xcom_push(key="result", value=result)  # type: ignore[attr-defined]
        return self._questions

    def unasked(self, planned: Planned) -> bool:
        """As the environment's policy says."""
        return self._needed(planned) == 0

    def hold(self, context: Context, stack: Stack, source: Source, held: Held) -> None:
        """Keep the plan as a change set of its own."""
        from triplane.core.approval import votes_needed
        from triplane.terraform.proposal import propose

        if denied := held.planned.verdict.denied:
            raise RefusedError(f"denied by policy: {'; '.join(denied)}. Nothing more was applied")
        approved = settings.get_change_set(str(self.change_set))
        change = propose(
            stack,
            held.planned,
            address=self.address,
            inputs=self.inputs(source, destroy=self.destroys),
            store=settings.artifact_store(),
            notes=held.notes,
            unsure=held.unsure,
            intent=approved.intent,
        )
        asked = replace(approved, changes=(change,), planned_at=datetime.now(UTC).isoformat())
        digest = settings.put_change_set(asked)
        settings.ledger(self.scope).append(
            "change_set",
            {"digest": digest, "run_id": context["dag_run"].run_id, "risk": str(asked.risk)},
        )
        for note in held.notes:
            self.log.warning("%s", note)
        self.log.warning("%s: people are asked again: %s", self.address, change.summary)
        context["task_instance"].xcom_push(key="change_set", value=digest)  # type: ignore[attr-defined]
        votes = max(1, votes_needed(asked))
        question = {"votes": votes, "change_sets": {asked.cloud: digest}}
        self._questions = [{"vote": vote, **question} for vote in range(votes)]

    def _needed(self, planned: Planned) -> int:
        """How many people the policy asks about what is left to apply."""
        from triplane.core.approval import Policy

        approved = settings.get_change_set(str(self.change_set))
        return Policy.from_json(approved.policy).needed(planned.risk, emergency=bool(approved.emergency))
