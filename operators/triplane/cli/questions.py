"""``triplane approve`` and ``triplane reject``: answer what a run asks, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from triplane.cli.api import Api
from triplane.cli.exits import RemoteError
from triplane.cli.observe import Observation
from triplane.core.asked import APPROVE, DIGEST, HOLD, REASON
from triplane.core.errors import InputError
from triplane.core.stages import name_of


class Answer(NamedTuple):
    """What somebody wants to say, ``digest`` if he names what he read."""

    option: str
    reason: str = ""
    hold: tuple[str, ...] = ()
    digest: str = ""


def chosen(api: Api, seen: Observation, answer: Answer, *, own_run: bool = False) -> list[dict[str, Any]]:
    """The questions that this answer is for: one of each approval, because each person has one vote.

    :param own_run: answer even though the same user asked for the run
    :raises RemoteError: nothing is asked, or this user has voted
    :raises InputError: the answer does not fit what is asked
    """
    if not seen.questions:
        raise RemoteError(f"{seen.run['dag_run_id']} asks nothing; it is {seen.state}")
    requester = seen.run.get("triggering_user_name")
    if answer.option == APPROVE and api.user and requester == api.user and not own_run:
        raise InputError(
            f"{api.user} asked for this run: an approval by the same user fails it, where the policy wants another "
            "person; --own-run approves even so"
        )
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for question in seen.questions:
        task = question["task_instance"]
        if answer.digest and digest_of(question) != answer.digest:
            continue
        found.setdefault((task["dag_id"], task["dag_run_id"], task["task_id"]), dict(question))
    if not found:
        asked = ", ".join(sorted({digest_of(question) for question in seen.questions}))
        raise InputError(f"{answer.digest} is not what is asked about: that is {asked}")
    for place in found:
        _once(api, place)
    return list(found.values())


def digest_of(question: Mapping[str, Any]) -> str:
    """What an answer to this question is about."""
    return str(_shown((question.get("params") or {}).get(DIGEST)) or "")


def filled(question: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    """The form of a question, filled in. :raises InputError: the answer does not fit the form"""
    form = question.get("params") or {}
    unknown = [cloud for cloud in answer.hold if f"{HOLD}{cloud}" not in form]
    if unknown:
        known = [name.removeprefix(HOLD) for name in form if name.startswith(HOLD)]
        raise InputError(
            f"{', '.join(unknown)} cannot be held back here; what can be: {', '.join(known) or 'nothing'}"
        )
    values = {name: _shown(param) for name, param in form.items()}
    values |= {name: name.removeprefix(HOLD) in answer.hold for name in form if name.startswith(HOLD)}
    if REASON in form:
        optional = "optional" in str((form[REASON] or {}).get("schema", {}).get("title", "")).lower()
        if not answer.reason and not optional and answer.option == APPROVE:
            raise InputError("the policy wants a reason for this risk: --reason")
        values[REASON] = answer.reason
    return values


def send(
    api: Api, questions: Sequence[Mapping[str, Any]], answer: Answer, say: Callable[[str], None]
) -> None:
    """Answer them."""
    filled_in = [(question, filled(question, answer)) for question in questions]
    api.settle(questions)
    for question, values in filled_in:
        api.answer(question, answer.option, values)
        done = "approved" if answer.option == APPROVE else "rejected"
        held = f", but for {', '.join(answer.hold)}" if answer.hold else ""
        say(f"{name_of(question['task_instance'])}: {done}{held}, {digest_of(question)}")


def _once(api: Api, place: tuple[str, str, str]) -> None:
    """Make sure that this user has no vote there yet: a second one would fail the approval."""
    dag_id, run_id, task_id = place
    path = f"/dags/{dag_id}/dagRuns/{run_id}/hitlDetails"
    for question in api.pages(path, "hitl_details", response_received=True):
        user = question.get("responded_by_user") or {}
        mine = bool(api.user) and api.user in (user.get("id"), user.get("name"))
        if mine and question["task_instance"]["task_id"] == task_id:
            raise RemoteError(
                f"{api.user} has answered {task_id} already; the other votes are for other people"
            )


def _shown(param: Any) -> Any:
    return param.get("value") if isinstance(param, Mapping) else param
