"""Tasks that tell the forge: a status of the commit, a comment on the pull request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from triplane import settings
from triplane.core.errors import InputError, TerminalError, TransientError

if TYPE_CHECKING:
    from airflow.sdk import Context

LONGEST_PAUSE = 600.0
"""Seconds that a task waits for a forge that asks for a pause, all its pauses; it holds no worker slot meanwhile."""


class ForgeOperator(BaseOperator):
    """What both tasks share.

    :param source: the repository: ``{kind: github or gitlab, repository, connection}``, and ``url`` of
        its API if that is neither the connection's host nor the public one
    :param soft_fail: log what went wrong and skip the task, instead of failing it
    """

    def __init__(self, *, source: Mapping[str, Any], soft_fail: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.soft_fail = soft_fail

    def execute(self, context: Context) -> Any:
        """Tell the forge. Parks where that asks for a pause."""
        return self._try(context, LONGEST_PAUSE)

    def execute_complete(self, context: Context, event: Any = None, left: float = 0.0) -> Any:
        """The pause is over."""
        return self._try(context, left)

    def tell(self, context: Context) -> Any:
        """Say it, with the subclass's parameters."""
        raise NotImplementedError

    def _try(self, context: Context, left: float) -> Any:
        from triplane.forge.rest import RateLimited

        try:
            return self.tell(context)
        except RateLimited as error:
            if error.seconds <= left:
                self._pause(error.seconds, left - error.seconds)
            return self._problem(context, error)
        except (TerminalError, TransientError) as error:
            return self._problem(context, error)

    def _pause(self, seconds: float, left: float) -> None:
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        self.log.info("Waiting %.0f s: the forge asks for a pause", seconds)
        self.defer(
            trigger=TimeDeltaTrigger(timedelta(seconds=seconds)),
            method_name="execute_complete",
            kwargs={"left": left},
        )

    def _problem(self, context: Context, error: Exception) -> None:
        """Fails for good, or for another try; softly where that is wanted."""
        instance: Any = context["task_instance"]
        terminal = isinstance(error, TerminalError)
        if not terminal and instance.try_number <= (instance.max_tries or 0):
            raise error
        said = settings.redactor()(str(error))
        if self.soft_fail:
            self.log.error("%s was not told: %s", self.source.get("repository"), said)
            raise AirflowSkipException(said)
        if terminal:
            raise AirflowFailException(said) from error
        raise error


class CommitStatusOperator(ForgeOperator):
    """Give a commit a status, with a link to this run.

    :param commit: the commit's full id (templated)
    :param state: ``pending``, ``success``, ``failure`` or ``error`` (templated)
    :param outcome_of: a task of this run, instead of ``state``: its success is ``success``, its failure is
        ``failure``, anything else ``error``
    :param context: what tells this status from others of the commit (templated)
    :param description: a few words (templated); by default what the state says
    """

    template_fields: Sequence[str] = ("source", "commit", "state", "context", "description")

    def __init__(
        self,
        *,
        commit: str,
        context: str,
        state: str = "pending",
        outcome_of: str | None = None,
        description: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.commit = commit
        self.context = context
        self.state = state
        self.outcome_of = outcome_of
        self.description = description

    def tell(self, context: Context) -> str:
        """Returns the state."""
        from triplane.core.git import is_commit
        from triplane.forge.repository import repository
        from triplane.notify.links import run_link

        if not is_commit(self.commit):
            raise InputError(f"{self.commit!r} is not the id of a commit: it gets no status")
        run: Any = context["dag_run"]
        state, words = self._outcome(context) if self.outcome_of else (self.state, WORDS.get(self.state, ""))
        if state not in WORDS:
            raise InputError(f"{state!r} is not a state of a commit; use one of {', '.join(WORDS)}")
        repository(self.source).status(
            self.commit,
            state,  # type: ignore[arg-type]
            context=self.context,
            description=settings.redactor()(self.description or words),
            link=run_link(run.dag_id, run.run_id),
        )
        self.log.info("%s: %s", self.commit, state)
        return state

    def _outcome(self, context: Context) -> tuple[str, str]:
        instance: Any = context["task_instance"]
        run: Any = context["dag_run"]
        states = instance.get_task_states(dag_id=run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
        found = str(states.get(self.outcome_of) or "")
        state = {"success": "success", "failed": "failure"}.get(found, "error")
        rows = instance.xcom_pull(task_ids=self.outcome_of, key="rows") or []
        if not rows:
            return state, WORDS[state]
        good = sum(row["state"] in ("deployed", "unchanged", "destroyed", "held") for row in rows)
        return state, f"{good} of {len(rows)} components are as approved"


WORDS = {
    "pending": "Planned and deployed by Triplane: see the run",
    "success": "Done",
    "failure": "Failed: see the run",
    "error": "Did not come to its end: see the run",
}


class PullRequestCommentOperator(ForgeOperator):
    """Write what would change into the one comment of a pull request, over what it said before.

    The comment is found again by its id, kept in the artifact store, or by a hidden mark. Returns the id. Skipped
    where there is no pull request.

    :param pull_request: its number (templated)
    :param change_sets: cloud -> digest of a change set in the artifact store (templated)
    :param asked: whether people are asked to approve it in this run (templated)
    """

    template_fields: Sequence[str] = ("source", "pull_request", "change_sets", "asked")

    def __init__(
        self, *, pull_request: Any, change_sets: Any, asked: str | bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pull_request = pull_request
        self.change_sets = change_sets
        self.asked = asked

    def tell(self, context: Context) -> str:
        """Returns the comment's id."""
        from triplane.core.approval import votes_needed
        from triplane.forge import comment
        from triplane.forge.repository import repository
        from triplane.notify.links import decision_link, run_link

        number = str(self.pull_request or "")
        if number in ("", "None"):
            raise AirflowSkipException("this run is about no pull request")
        if not number.isdigit():
            raise InputError(f"{number!r} is not the number of a pull request")
        found = [settings.get_change_set(digest) for _, digest in sorted(dict(self.change_sets).items())]
        if not found:
            raise InputError("there are no change sets to comment on")
        run: Any = context["dag_run"]
        asked = str(self.asked) == "True"
        needed = max(map(votes_needed, found)) if asked else 0
        text = comment.body(
            found, link=run_link(run.dag_id, run.run_id), decision=decision_link(context), needed=needed
        )
        mark = comment.marker(found[0].platform, found[0].environment)
        name = f"forge/{self.source['kind']}/{self.source['repository']}/{number}/{mark}"
        known = (settings.artifact_store().get_named(name) or b"").decode()
        written = repository(self.source).comment(
            int(number), settings.redactor()(text), marker=mark, known=known
        )
        if written != known:
            settings.artifact_store().put_named(name, written.encode())
        self.log.info("Comment %s of #%s", written, number)
        return written
