"""Plan a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from triplane import sealing, settings
from triplane.terraform.operators.base import TerraformOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange
    from triplane.terraform.plan import State
    from triplane.terraform.stack import Stack


class TerraformPlanOperator(TerraformOperator):
    """Plan a stack, keep the saved plan encrypted, and return the change (``ComponentChange`` as JSON).

    If a stack that this one reads outputs from has pending changes, this one is not planned yet: its action
    is ``deferred``, and its risk the most that it may do without asking again (see
    :func:`triplane.terraform.risk.ceiling`).

    :param after: results of the plans that this stack depends on: name -> change (templated)
    :param intent: ``destroy`` plans to destroy the stack, which is always of critical risk; ``rollback`` says
        what a deployment of an earlier source cannot bring back; all else is a deployment (templated)
    """

    template_fields: Sequence[str] = (*TerraformOperator.template_fields, "after", "intent")

    def __init__(
        self, *, after: Mapping[str, Any] | None = None, intent: str = "deploy", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.after = after or {}
        self.intent = intent

    def work(self, context: Context) -> dict[str, Any]:
        """Plan, or defer the planning."""
        source = self.stack_source()
        destroy = self.intent == "destroy"
        binds = self.inputs(source, destroy=destroy)
        pending = [] if destroy else sealing.pending(self.after)
        with self.opened(source, {} if pending else self.secret_variables()) as stack:
            change = self._deferred(stack, pending, binds) if pending else self._planned(stack, binds)
        self.log.info("%s: %s, %s risk", self.address, change.summary, change.risk)
        for line in change.lines if not change.changed else ():
            self.log.warning("%s: %s", self.address, line)
        return sealing.seal(context, change)

    def _planned(self, stack: Stack, inputs: dict[str, str | int]) -> ComponentChange:
        from triplane.terraform import recovery
        from triplane.terraform.proposal import propose

        store, ledger = settings.artifact_store(), settings.ledger(self.scope)
        recovery.settle(stack, self.address, ledger, store)
        destroy = self.intent == "destroy"
        if destroy and (state := stack.terraform.pull()).empty:
            left = recovery.notes(recovery.cut_off(stack, self.address, ledger, store), destroy=True)
            return _nothing_there(self.address, inputs, state, left)
        planned, notes = recovery.replan(
            stack,
            self.address,
            ledger,
            store,
            lambda: self.make_plan(stack, destroy=destroy),
            destroy=destroy,
        )
        if not planned.changed:
            self.put_outputs(planned.state)
        return propose(
            stack,
            planned,
            address=self.address,
            inputs=inputs,
            store=store,
            notes=notes,
            unsure=bool(notes),
            intent=self.intent if self.intent in ("rollback", "destroy") else "deploy",  # type: ignore[arg-type]
        )

    def _deferred(self, stack: Stack, pending: Sequence[str], binds: dict[str, str | int]) -> ComponentChange:
        from triplane.core.change import ComponentChange

        state = stack.terraform.pull()
        ceiling = stack.ceiling(state)
        names = " and ".join(pending)
        binds |= {"ceiling": str(ceiling), "lineage": state.lineage, "serial": state.serial}
        return ComponentChange(
            address=self.address,
            action="deferred",
            risk=ceiling,
            summary=f"planned after {names} {'is' if len(pending) == 1 else 'are'} applied, on real outputs",
            lines=(f"? {self.address}: at most {ceiling} risk, else it is refused and asked for again",),
            binds=binds,
        )


def _nothing_there(
    address: str, inputs: Mapping[str, str | int], state: State, left: tuple[str, ...]
) -> ComponentChange:
    from triplane.core.change import ComponentChange, Risk

    return ComponentChange(
        address=address,
        action="none",
        risk=Risk.NONE,
        summary="the state is empty: there is nothing to destroy",
        lines=left,
        binds={**inputs, "lineage": state.lineage, "serial": state.serial},
    )
