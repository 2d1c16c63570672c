"""Reminds people of what waits for them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from triplane import settings
from triplane.core.errors import TerminalError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ChangeSet


class ReminderOperator(BaseOperator):
    """Remind people for as long as the approvals of this run are open, as often as the policy says (``remind``).

    It is mapped over the same questions as the approval, so that it is skipped at no cost where nobody is asked; the
    first of them speaks for all. It waits without a worker slot, and ends when everybody has answered, when somebody
    rejects, and when the approval expires. Returns how many times it reminded people.

    :param change_sets: cloud -> digest of a change set in the artifact store (templated)
    :param vote: which of the needed votes this is, from 0
    :param votes: how many people are asked
    :param approval_task_id: the tasks that ask
    :param notify: whom to tell what, see :func:`triplane.notify.send.notify`
    :param poll_interval: seconds between two looks at the approvals
    """

    template_fields: Sequence[str] = ("change_sets",)

    def __init__(
        self,
        *,
        change_sets: Any,
        vote: int = 0,
        votes: int = 1,
        approval_task_id: str = "approval",
        notify: Sequence[Mapping[str, Any]] = (),
        poll_interval: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.change_sets = change_sets
        self.vote = vote
        self.votes = votes
        self.approval_task_id = approval_task_id
        self.notify = notify
        self.poll_interval = poll_interval

    def execute(self, context: Context) -> int:
        """Wait for the first reminder."""
        if self.vote:
            raise AirflowSkipException("the first of these tasks reminds people")
        self._wait(context, self._seconds(self._load()), 0)

    def execute_complete(self, context: Context, event: Mapping[str, Any], reminded: int = 0) -> int:
        """Remind people, and wait again; or end."""
        if not event["open"]:
            return reminded
        from triplane.approval import review
        from triplane.notify.links import decision_link
        from triplane.notify.message import Message

        change_sets = self._load()
        seconds = self._seconds(change_sets) * (reminded + 1)
        waited = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
        run: Any = context["dag_run"]
        message = Message(
            event="reminder",
            environment=change_sets[0].environment,
            subject=f"Still waiting for approval: {review.subject(change_sets)}",
            text=f"{event['open']} of {self.votes} approvals are missing after {waited}.\n\n{review.summary(change_sets)}",
            link=decision_link(context),
            thread=run.run_id,
        )
        self.log.info("%s (%d of %d missing after %s)", message.subject, event["open"], self.votes, waited)
        if self.notify:
            from triplane.notify.send import notify

            notify(self.notify, message)
        self._wait(context, self._seconds(change_sets), reminded + 1)

    def _load(self) -> list[ChangeSet]:
        try:
            return [settings.get_change_set(digest) for _, digest in sorted(self.change_sets.items())]
        except TerminalError as error:
            raise AirflowSkipException(f"nothing to remind people of: {error}") from error

    def _seconds(self, change_sets: Sequence[ChangeSet]) -> float:
        from triplane.core.approval import Policy

        seconds = [Policy.from_json(change_set.policy).remind for change_set in change_sets]
        if not (wanted := [each for each in seconds if each]):
            raise AirflowSkipException("the policy of this environment reminds nobody (approval.remind)")
        return min(wanted)

    def _wait(self, context: Context, seconds: float, reminded: int) -> NoReturn:
        from triplane.approval.triggers import AnsweredTrigger

        run: Any = context["dag_run"]
        self.defer(
            trigger=AnsweredTrigger(
                dag_id=run.dag_id,
                run_id=run.run_id,
                task_id=self.approval_task_id,
                until=time.time() + seconds,
                interval=self.poll_interval,
            ),
            method_name="execute_complete",
            kwargs={"reminded": reminded},
        )
        raise AssertionError("defer never returns")
