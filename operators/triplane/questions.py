"""Questions to people, as Airflow asks them, for all operators that ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from triplane.core.asked import APPROVE, REJECT
from triplane.core.errors import RefusedError

if TYPE_CHECKING:
    from airflow.sdk import Context, Param


def pose(
    context: Context,
    *,
    subject: str,
    body: str,
    params: Mapping[str, Param],
    approvers: Sequence[str],
    within: float,
    method: str,
    kwargs: Mapping[str, Any],
) -> NoReturn:
    """Ask, and park the task until somebody answers, for ``within`` seconds at most.

    Then ``method`` gets ``event``, ``kwargs`` and ``asked_at``, as ISO 8601.

    :raises RefusedError: this task has asked something else before; Airflow would still show that
    """
    from airflow.sdk.exceptions import TaskAwaitingInput
    from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    task_instance: Any = context["task_instance"]
    stored: Any = SUPERVISOR_COMMS.send(
        CreateHITLDetailPayload(
            ti_id=task_instance.id,
            options=[APPROVE, REJECT],
            subject=subject,
            body=body,
            params={name: param.serialize() for name, param in params.items()},
            assigned_users=[{"id": name, "name": name} for name in approvers],  # type: ignore[list-item]
        )
    )
    if (stored.subject, stored.body) != (subject, body):
        raise RefusedError(
            "Airflow still shows the text of an earlier try of this task, which is not what is asked now; "
            "start a new run"
        )
    asked_at = datetime.now(UTC).isoformat()
    raise TaskAwaitingInput(
        method_name=method, kwargs={**kwargs, "asked_at": asked_at}, timeout=timedelta(seconds=within)
    )


def responder(event: Mapping[str, Any]) -> tuple[str, str]:
    """Name and id of who answered; some auth managers know people by an id that is not their name."""
    user = event.get("responded_by_user") or {}
    return str(user.get("name") or user.get("id") or ""), str(user.get("id") or "")


def tell_waiting(
    context: Context, event: Mapping[str, Any], asked: Literal["approval", "gate"], since: datetime
) -> None:
    """Put into the metrics how long people took to answer, or did not."""
    from triplane import metrics

    environment = str((context.get("params") or {}).get("environment", ""))
    if "error" in event:
        metrics.waiting(asked, "expired", since, datetime.now(UTC), environment)
        return
    answer = "approved" if event["chosen_options"] == [APPROVE] else "rejected"
    metrics.waiting(asked, answer, since, event["responded_at"], environment)
