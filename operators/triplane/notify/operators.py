"""Routes in anybody's DAG: as a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from triplane.notify.message import Event, Message

if TYPE_CHECKING:
    from airflow.sdk import Context


class NotifyOperator(BaseOperator):
    """Tell routes something. Never fails because of a route: the log says what could not be sent.

    :param routes: where to, as :func:`triplane.factories.notify.routes` gives them
    :param event: what to tell it as
    :param environment: the environment (templated)
    :param subject: one line (templated)
    :param text: Markdown (templated)
    :param link: where to read on (templated); by default the run
    :param key: tells apart several messages of one event in a run (templated)
    """

    template_fields: Sequence[str] = ("environment", "subject", "text", "link", "key")

    def __init__(
        self,
        *,
        routes: Sequence[Mapping[str, Any]],
        event: Event,
        environment: str,
        subject: str,
        text: str = "",
        link: str = "",
        key: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.routes = routes
        self.event = event
        self.environment = environment
        self.subject = subject
        self.text = text
        self.link = link
        self.key = key

    def execute(self, context: Context) -> None:
        """Send it."""
        from triplane.notify.links import run_link
        from triplane.notify.send import notify

        run: Any = context["dag_run"]
        notify(
            self.routes,
            Message(
                event=self.event,
                environment=self.environment,
                subject=self.subject,
                text=self.text,
                link=self.link or run_link(run.dag_id, run.run_id),
                thread=f"{run.dag_id}/{run.run_id}",
                key=self.key,
            ),
        )
