"""What an operator may apply now: the approved change of its component, checked against the signed decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from triplane import sealing, settings
from triplane.core.errors import RefusedError

if TYPE_CHECKING:
    from triplane.core.approval import Decision
    from triplane.core.change import ChangeSet, ComponentChange


def approved_change(context: Any, operator: Any) -> ComponentChange | None:
    """What an applying operator may apply: its attributes ``address``, ``scope``, ``change_set``,
    ``authorization``, ``change`` and ``needs_approval`` say so. None where it was built without any of them, by hand.

    ``needs_approval`` is fixed when the DAG is built: an edited XCom that empties ``change_set`` does not turn
    an approved deployment into one by hand.

    :raises RefusedError: it needs an approval and has none that holds
    """
    if operator.needs_approval:
        if not operator.change_set:
            raise RefusedError(
                f"{operator.address}: there is no approved change set to apply; start a new run"
            )
        found = settings.get_change_set(operator.change_set)
        if operator.scope != f"{found.environment}/{found.cloud}":
            raise RefusedError(
                f"{operator.address}: the change set is for {found.environment}/{found.cloud}, "
                f"this task is for {operator.scope}"
            )
        return authorized_change(context, operator.address, operator.change_set, operator.authorization)
    return sealing.read_change(operator.change)


def authorized_change(
    context: Any, address: str, change_set: str, authorization: Mapping[str, Any] | str | None
) -> ComponentChange:
    """The approved change of the component at ``address``, after checking that it may be applied now.

    Reads the change set by its digest from the artifact store and verifies the signed decisions in
    ``authorization`` (``{"decisions": [...]}``) for this very run. Outside of a deployment window, and in a freeze,
    the ledger has to know that this run or this change set was authorized before.

    :raises RefusedError: not approved, expired, for another run or other content, begun at the wrong time, or
        tampered with
    """
    from triplane.core.approval import Decision, closed
    from triplane.core.history import AUTHORIZED

    found = settings.get_change_set(change_set)
    value = json.loads(authorization) if isinstance(authorization, str) else (authorization or {})
    decisions = [Decision.from_json(item) for item in value.get("decisions") or []]
    run = context["dag_run"]
    verify_decisions(found, decisions, run)
    if why := closed(found, datetime.now(UTC)):
        entries = settings.ledger(f"{found.environment}/{found.cloud}").entries(AUTHORIZED)
        if not any(
            change_set == entry.body["digest"] or run.run_id == entry.body["run_id"] for entry in entries
        ):
            raise RefusedError(f"{found.environment} is {why}, and this run was not begun before")
    change = found.change(address)
    if change is None:
        raise RefusedError(f"{address} is not in change set {change_set}; plan again")
    return change


def verify_decisions(change_set: ChangeSet, decisions: Sequence[Decision], run: Any) -> None:
    """Make sure that ``decisions`` let ``run`` apply ``change_set`` now, by themselves or as a release's way back.

    :raises RefusedError: they do not
    :raises StaleError: the change set is older than its policy allows
    """
    from triplane.core.approval import verify

    if change_set.undoes and not uncovered_undo(change_set, decisions, run):
        return
    verify(
        change_set,
        decisions,
        keys=settings.signing_keys(),
        dag_id=run.dag_id,
        run_id=run.run_id,
        now=datetime.now(UTC),
    )


def uncovered_undo(change_set: ChangeSet, decisions: Sequence[Decision], run: Any) -> str:
    """Why the approval of a release does not cover ``change_set``, which undoes it; empty if it does."""
    from triplane.core.undo import uncovered

    return uncovered(
        settings.get_change_set(change_set.undoes["change_set"]),
        change_set,
        decisions,
        keys=settings.signing_keys(),
        dag_id=run.dag_id,
        run_id=run.run_id,
        entries=settings.ledger(f"{change_set.environment}/{change_set.cloud}").entries(),
        now=datetime.now(UTC),
    )
