"""Routes in anybody's DAG: as a callback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier

from triplane.notify.links import run_link
from triplane.notify.message import Event, Message

if TYPE_CHECKING:
    from airflow.sdk import Context


class TriplaneNotifier(BaseNotifier):
    """Tell routes about a task, as ``on_failure_callback`` and the like.

    A run is told once about each event, whichever of its tasks is the first.

    :param routes: where to, as :func:`triplane.factories.notify.routes` gives them
    :param event: what to tell it as
    :param environment: the environment (templated)
    :param subject: one line (templated); by default it names the task
    :param text: Markdown (templated); by default it names the error
    """

    template_fields: Sequence[str] = ("environment", "subject", "text")

    def __init__(
        self,
        *,
        routes: Sequence[Mapping[str, Any]],
        event: Event = "failed",
        environment: str = "{{ params.environment }}",
        subject: str = "",
        text: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.routes = routes
        self.event = event
        self.environment = environment
        self.subject = subject
        self.text = text

    def notify(self, context: Context) -> None:
        """Send it; problems are logged."""
        from triplane.notify.send import notify

        run: Any = context["dag_run"]
        instance: Any = context["task_instance"]
        error = context.get("exception")
        where = f"`{instance.task_id}` of {run.dag_id}, run {run.run_id}"
        notify(
            self.routes,
            Message(
                event=self.event,
                environment=self.environment,
                subject=self.subject or f"{run.dag_id}: {instance.task_id} {self.event.replace('_', ' ')}",
                text=self.text or (f"{where}: {error}" if error else where),
                link=run_link(run.dag_id, run.run_id),
                thread=f"{run.dag_id}/{run.run_id}",
            ),
        )
