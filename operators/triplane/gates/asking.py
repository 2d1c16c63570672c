"""Asks a person whether a deployment goes on where a gate has no data, and signs the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from triplane import settings
from triplane.core.errors import InputError, RefusedError, TerminalError
from triplane.core.waiver import WAIVER, Terms, Waiver, covers, problem
from triplane.gates.verdict import Verdict

if TYPE_CHECKING:
    from airflow.sdk import Context

WIDTH = 500
LATER = "later"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a person is asked: ``verdict`` is about ``gate``, such as ``aws/function/hook``.

    :param terms: who may answer, see :class:`triplane.core.waiver.Terms`, as plain values
    :param steps: whether the gate judges again later in this task, so that the answer may be for all of it
    :param scopes: the ledgers that the answer is written to (``<environment>/<cloud>``)
    """

    gate: str
    verdict: Verdict
    terms: Mapping[str, Any]
    steps: bool = False
    scopes: Sequence[str] = ()


def ready(checks: Sequence[Mapping[str, Any]], terms: Mapping[str, Any]) -> None:
    """Make sure, before anything is watched, that a person can be asked where ``checks`` may want it.

    :raises InputError: there is no key to sign the answer with
    :raises RefusedError: ``terms`` are none
    """
    if any(each.get("no_data") == "ask" for each in checks):
        Terms.from_json(terms)
        try:
            settings.signing_keys()
        except InputError as error:
            raise InputError(f"`no_data: ask` signs what people answer: {error}") from error


def ask(context: Context, question: Question, *, method: str, kwargs: Mapping[str, Any]) -> Verdict:
    """Park the task until somebody answers; then ``method`` gets ``event``, ``verdict``, ``asked_at`` and ``kwargs``.

    Returns only where it cannot be asked: the verdict, which says why.
    """
    try:
        _pose(context, question, method, {**kwargs, "verdict": question.verdict.to_json()})
    except RefusedError as error:
        return _refused(question.verdict, str(error))


def _pose(context: Context, question: Question, method: str, kwargs: Mapping[str, Any]) -> NoReturn:
    from airflow.sdk import Param

    from triplane.core.asked import DIGEST, REASON
    from triplane.questions import pose

    terms = Terms.from_json(question.terms)
    asked = _digest(context, question)
    params = {
        DIGEST: Param(asked, type="string", title="Digest of what you answer", const=asked),
        REASON: Param("", type="string", title="Reason (optional)"),
    }
    if question.steps:
        title = "Also at the later steps of this deployment, where this gate still has no data"
        params[LATER] = Param(False, type="boolean", title=title)
    # Before the question is there: who answers while this task is still busy makes Airflow fail it.
    _tell(context, question, terms, asked)
    pose(
        context,
        subject=_subject(question),
        body=_body(context, question, terms),
        params=params,
        approvers=sorted(terms.approvers),
        within=terms.within,
        method=method,
        kwargs=kwargs,
    )


def answered(
    context: Context, question: Question, event: Mapping[str, Any], asked_at: str
) -> tuple[Verdict, Waiver | None]:
    """The verdict after the answer, and the waiver where somebody let it go on.

    Everything but a valid approval leaves it ``no_data``: a rejection, an expiry, an answer that is about something
    else. The answer is in the ledgers before anything goes on.
    """
    from triplane.questions import tell_waiting

    since = datetime.fromisoformat(asked_at)
    tell_waiting(context, event, "gate", since)
    try:
        terms = Terms.from_json(question.terms)
        waiver = _waiver(context, question, event)
        refused = problem(waiver, terms, until=since + timedelta(seconds=terms.within))
        _record(question, waiver, refused)
        if refused:
            raise RefusedError(refused)
    except TerminalError as error:
        return _refused(question.verdict, str(error)), None
    return waived(question.verdict, waiver), waiver


def waived(verdict: Verdict, waiver: Waiver) -> Verdict:
    """``verdict``, which somebody lets go on."""
    return replace(verdict, asks=False, waived=waiver.said)


def _refused(verdict: Verdict, why: str) -> Verdict:
    """``verdict``, which asks no more."""
    return replace(verdict, asks=False, reason=f"{verdict.reason}; {why}")


def earlier(context: Context, gate: str, value: Mapping[str, Any] | None) -> Waiver | None:
    """The waiver that was given for all that this gate does not see in this run, if ``value`` is one."""
    if not value:
        return None
    waiver = Waiver.from_json(value)
    return waiver if covers(waiver, settings.signing_keys(), gate=gate, **_place(context)) else None


def _waiver(context: Context, question: Question, event: Mapping[str, Any]) -> Waiver:
    from triplane.core.asked import APPROVE, DIGEST, REASON
    from triplane.questions import responder

    if "error" in event:
        raise RefusedError("nobody answered in time whether to go on without data")
    form = event.get("params_input") or {}
    if form.get(DIGEST) != _digest(context, question):
        raise RefusedError(f"the answer is for {form.get(DIGEST) or 'no digest'}, not for what was asked")
    name, known_as = responder(event)
    run: Any = context["dag_run"]
    waiver = Waiver(
        **_place(context),
        gate=question.gate,
        verdict=question.verdict.digest,
        requester=run.triggering_user_name or "",
        responder=name,
        responder_id=known_as,
        approved=event["chosen_options"] == [APPROVE],
        later=question.steps and form.get(LATER) is True,
        reason=settings.redactor()(str(form.get(REASON) or "").strip()),
        decided_at=event["responded_at"].isoformat(),
    )
    return waiver.sign(settings.signing_keys())


def _record(question: Question, waiver: Waiver, refused: str) -> None:
    reasons = settings.redactor()(question.verdict.reason)
    body = {**waiver.to_json(), "reasons": reasons, "refused": refused}
    for scope in question.scopes:
        settings.ledger(scope).append(WAIVER, body)


def _place(context: Context) -> dict[str, Any]:
    run: Any = context["dag_run"]
    instance: Any = context["task_instance"]
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "task_id": instance.task_id,
        "map_index": instance.map_index,
    }


def _digest(context: Context, question: Question) -> str:
    """The same whenever the same silence is asked about, so that a task that was killed may ask again."""
    from triplane.core.digest import digest

    return digest([_place(context), question.gate, question.verdict.reason])


def _subject(question: Question) -> str:
    return f"No data: may {question.gate} go on?"


def _body(context: Context, question: Question, terms: Terms) -> str:
    from triplane.core.words import plain

    run: Any = context["dag_run"]
    reason = plain(settings.redactor()(question.verdict.reason), WIDTH)
    lines = [
        f"Nothing tells whether what was deployed is good. **{question.gate}**, asked for by "
        f"**{run.triggering_user_name or 'a schedule'}**:",
        f"```text\n{reason}\n```",
        f"Approve, and the deployment goes on without data. Reject it, or do not answer for {terms.within / 3600:g} h, "
        "and it ends as where a gate fails.",
    ]
    return "\n\n".join(lines) + "\n"


def _tell(context: Context, question: Question, terms: Terms, asked: str) -> None:
    from triplane.notify.links import decision_link
    from triplane.notify.message import Message
    from triplane.notify.send import notify

    if not terms.notify:
        return
    run: Any = context["dag_run"]
    message = Message(
        event="approval_needed",
        environment=str((context.get("params") or {}).get("environment", "")),
        subject=_subject(question),
        text=_body(context, question, terms),
        link=decision_link(context),
        thread=run.run_id,
        key=asked,
    )
    notify(terms.notify, message)
