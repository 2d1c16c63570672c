"""What people are told about how a run ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from triplane.core.digest import digest
from triplane.core.words import cloud
from triplane.rollout import report

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.notify.message import Event

ROWS = 40
"""So many components are listed, those that did not finish first."""
DONE: dict[str, tuple[Event, str]] = {
    "deploy": ("deployed", "Deployed to"),
    "apply": ("deployed", "Deployed to"),
    "rollback": ("rolled_back", "Rolled back in"),
    "destroy": ("deployed", "Destroyed in"),
}


def tell(
    context: Context,
    routes: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    problems: Sequence[str],
) -> None:
    """Tell ``routes`` what became of a run's components; nothing if nothing has changed.

    A deployment that failed and was rolled back is ``failed``, and ``rolled_back`` to those who do not want that.
    """
    if not routes or not (problems or any(row["state"] != "unchanged" for row in rows)):
        return
    environment, action = _params(context)
    where = ", ".join(cloud(name) for name in dict.fromkeys(row["cloud"] for row in rows))
    if not problems:
        event, words = DONE.get(action, DONE["deploy"])
        _send(context, routes, event, f"{words} {environment} ({where})", text(rows))
        return
    subject = f"{action.capitalize()} failed in {environment} ({where})"
    body = text(rows, [*problems, *_failed(context)])
    _send(context, routes, "failed", subject, body, key=digest(list(problems)))
    if any(row["state"] == "rolled_back" for row in rows):
        others = [route for route in routes if route.get("events") and "failed" not in route["events"]]
        _send(context, others, "rolled_back", subject, body, key=digest(list(problems)))


def text(rows: Sequence[Mapping[str, Any]], problems: Sequence[str] = ()) -> str:
    """Problems, and the components as a table, in Markdown."""
    good = (*report.FINISHED, report.HELD)
    ordered = sorted(rows, key=lambda row: (row["state"] in good, row["state"] == "unchanged"))
    more = [f"... and {len(ordered) - ROWS} more"] if len(ordered) > ROWS else []
    listed = ["```", *report.table(ordered[:ROWS]), *more, "```"] if ordered else []
    return "\n".join([*(f"- {problem}" for problem in problems), *([""] if problems else []), *listed])


def _failed(context: Context) -> list[str]:
    """The tasks of this run that failed: a freeze, a plan, an approval that was refused or expired."""
    instance: Any = context["task_instance"]
    run: Any = context["dag_run"]
    states = instance.get_task_states(dag_id=run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    names = sorted(task for task, state in states.items() if state == "failed")
    return [f"failed tasks: {', '.join(names)}"] if names else []


class FailureNotifier(BaseNotifier):
    """Tell that a run which nobody else reports on has failed: for all tasks, the first one tells.

    Runs that only plan, and those that another run has started, are left to whoever started them.

    :param routes: whom to tell
    """

    def __init__(self, *, routes: Sequence[Mapping[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.routes = routes

    def notify(self, context: Context) -> None:
        """Send it; problems are logged."""
        if not alone(context):
            return
        environment, action = _params(context)
        run: Any = context["dag_run"]
        instance: Any = context["task_instance"]
        error = context.get("exception") or "see its log"
        subject = f"{action.capitalize()} failed in {environment} ({run.dag_id})"
        _send(context, self.routes, "failed", subject, f"`{instance.task_id}`: {error}")


def alone(context: Context) -> bool:
    """Whether this run changes something, and was not started by another one that reports on it."""
    params: Mapping[str, Any] = context["params"]
    planned_only = params.get("action") == "plan" or params.get("dry_run")
    return not planned_only and not params.get("frozen") and not params.get("approved")


def _params(context: Context) -> tuple[str, str]:
    params: Mapping[str, Any] = context["params"]
    return str(params["environment"]), str(params.get("action", "deploy"))


def _send(
    context: Context,
    routes: Sequence[Mapping[str, Any]],
    event: Event,
    subject: str,
    body: str,
    key: str = "",
) -> None:
    from triplane.notify.links import run_link
    from triplane.notify.message import Message
    from triplane.notify.send import notify

    run: Any = context["dag_run"]
    notify(
        routes,
        Message(
            event=event,
            environment=_params(context)[0],
            subject=subject,
            text=body,
            link=run_link(run.dag_id, run.run_id),
            thread=run.run_id,
            key=key,
        ),
    )
