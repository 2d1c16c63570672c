"""What waits for people, and what the one who looks may decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from triplane.core.approval import Policy
from triplane.core.asked import ASKS, DIGEST, HOLD, REASON
from triplane.core.digest import digest as digest_of
from triplane.ui import database
from triplane.ui.changes import Asked, asked_about, summary
from triplane.ui.database import Question
from triplane.ui.inventory import Inventory
from triplane.ui.models import Approval, Approvals, Run, Vote

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from triplane.ui.archive import Archive


class Person(NamedTuple):
    """Who looks at the page: auth managers know people by an id, and by a name."""

    id: str
    name: str

    @property
    def known_as(self) -> set[str]:
        """Both."""
        return {self.id, self.name}


def approvals(session: Session, found: Inventory, archive: Archive, person: Person) -> Approvals:
    """All open questions of the platforms, those that the person may answer first."""
    keys = database.waiting(session, found.dag_ids)
    asking = database.runs(session, keys)
    asked: list[Approval] = []
    for (dag_id, run_id, task_id), group in groupby(database.questions(session, keys), _task):
        questions = list(group)
        if any(question.state == ASKS for question in questions):
            about = asked_about(session, found, archive, (dag_id, run_id), task_id)
            asked.append(approval(asking[dag_id, run_id], questions, about, person))
    asked.sort(key=lambda item: (not item.mine, item.expires_at))
    return Approvals(problems=archive.problems, user=person.name, approvals=tuple(asked))


def approval(run: Run, questions: Sequence[Question], about: Asked, person: Person) -> Approval:
    """The votes of one task that asks, with what they are about: change sets, or what its text says."""
    first = questions[0]
    digest = str(_default(first.params.get(DIGEST)))
    rules = [(each, Policy.from_json(each.policy)) for each in about.sets]
    groups = {
        name: tuple(users) for each, policy in rules for name, users in policy.groups(each.risk).items()
    }
    left = [question for question in questions if question.state == ASKS]
    why_not = _why_not(run, questions, [policy for _, policy in rules], person)
    return Approval(
        run=run,
        task_id=first.task_id,
        subject=first.subject,
        requester=run.by,
        digest=digest,
        expires_at=min((question.expires_at for question in left if question.expires_at), default=""),
        votes=tuple(map(vote, questions)),
        assigned=first.assigned,
        groups=groups,
        reason_needed=any(
            policy.needs_reason(each.risk, emergency=bool(each.emergency)) for each, policy in rules
        ),
        choices={name: _title(param) for name, param in first.params.items() if _default(param) is False},
        text="" if _about_change_sets(first) else first.body,
        clouds=tuple(map(summary, about.sets)),
        hidden=about.hidden,
        as_stored=not _about_change_sets(first) or digest_of(about.digests) == digest,
        open=vote(left[0]),
        mine=not why_not,
        why_not=why_not,
    )


def vote(question: Question) -> Vote:
    """What somebody has answered, or will."""
    answer = question.answer
    return Vote(
        task_id=question.task_id,
        map_index=question.map_index,
        state=question.state,
        responder=question.responder,
        answered_at=question.answered_at,
        option=", ".join(question.chosen),
        held=tuple(
            name.removeprefix(HOLD) for name, value in answer.items() if name.startswith(HOLD) and value
        ),
        reason=str(answer.get(REASON) or ""),
    )


def _why_not(run: Run, questions: Iterable[Question], policies: Iterable[Policy], person: Person) -> str:
    """Why an answer of this person would not count; empty if it would. Airflow and the workers decide, not the page."""
    first, *_ = questions = list(questions)
    if first.assigned and not person.known_as & set(first.assigned):
        return f"It asks {', '.join(first.assigned)}."
    if any(question.responder in person.known_as for question in questions if question.responder):
        return "You have answered already; the other answers must be by other people."
    strict = any(not policy.requester_may_approve for policy in policies)
    if strict and run.by in person.known_as:
        return "You asked for this run, and the policy wants somebody else to approve it."
    return ""


def _task(question: Question) -> tuple[str, str, str]:
    return question.dag_id, question.run_id, question.task_id


def _about_change_sets(question: Question) -> bool:
    """Gates that have no data ask too, in the task that waits for them."""
    return question.task_id.rpartition(".")[2] == "approval"


def _title(param: object) -> str:
    schema = param.get("schema") if isinstance(param, dict) else None
    return str(schema.get("title", "")) if isinstance(schema, dict) else ""


def _default(param: object) -> object:
    return param.get("value", "") if isinstance(param, dict) else param
