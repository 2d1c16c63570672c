"""A gate without data asks a person; only a valid approval lets anything go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from tests.unit.gates.asked import KEY, Questions, context, parked
from tests.unit.gates.services import serving
from tests.unit.gates.test_sensor import judged

from triplane import settings
from triplane.core.waiver import WAIVER, Waiver
from triplane.gates import asking
from triplane.gates.sensors import GateSensor
from triplane.gates.verdict import Verdict, combine

SILENT = {
    "name": "errors",
    "source": "http",
    "query": {"url": "http://127.0.0.1:9", "timeout": 1},
    "lasting": 0.1,
    "every": 0.05,
    "patience": 0.05,
    "no_data": "ask",
}
TERMS = {"approvers": ["bob", "carol"], "within": 3600.0}
SCOPES = ["prod/aws", "prod/gcp"]


@pytest.fixture(autouse=True)
def questions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Questions:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}")
    return Questions(monkeypatch)


def sensor(**changes: Any) -> GateSensor:
    given = {"checks": [SILENT], "ask": TERMS, "scopes": SCOPES, **changes}
    return GateSensor(task_id="gate", deferrable=False, **given)


def asked_of(gate: GateSensor, seen: Any) -> dict[str, Any]:
    kwargs: dict[str, Any] = parked(lambda: gate.execute(seen)).kwargs or {}
    return kwargs


def recorded(scope: str) -> list[Any]:
    return settings.ledger(scope).entries(WAIVER)


def test_it_says_what_it_does_not_know_and_parks(questions: Questions) -> None:
    waits = parked(lambda: sensor().execute(context()))
    (asked,) = questions.asked
    assert asked.subject == "No data: may gate go on?"
    assert "errors: nothing was observed: " in asked.body
    assert "asked for by **alice**" in asked.body
    assert "do not answer for 1 h" in asked.body
    assert [user.id for user in asked.assigned_users] == ["bob", "carol"]
    assert (asked.options, asked.defaults) == (["Approve", "Reject"], None), "nothing answers by itself"
    assert "later" not in asked.params, "it judges once"
    assert (waits.method_name, waits.timeout) == ("answered", timedelta(hours=1))


def test_an_approval_is_signed_recorded_and_no_pass(questions: Questions) -> None:
    gate, seen = sensor(), context()
    kwargs = asked_of(gate, seen)
    found = gate.answered(seen, questions.answer(reason="the exporter is down"), **kwargs)
    assert (found["state"], found["waived"]) == ("no_data", "bob let it go on: the exporter is down")
    waiver = Waiver.from_json(seen["ti"].pushed["waiver"])
    assert waiver.signed_by([KEY])
    assert not Waiver.from_json({**waiver.to_json(), "gate": "another"}).signed_by([KEY])
    assert (waiver.dag_id, waiver.run_id, waiver.task_id) == ("deploy", "r1", "gate")
    assert waiver.verdict == Verdict.from_json(kwargs["verdict"]).digest
    for scope in SCOPES:
        (entry,) = recorded(scope)
        assert Waiver.from_json(entry.body) == waiver
        assert "nothing was observed" in entry.body["reasons"]
        assert entry.body["refused"] == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"option": "Reject", "reason": "look first"}, "rejected by bob: look first"),
        ({"by": "alice"}, "alice is not among the approvers bob, carol"),
        ({"by": ""}, "does not say who gave it"),
        ({"digest": "sha256:0"}, "the answer is for sha256:0, not for what was asked"),
        ({"digest": ""}, "the answer is for no digest"),
        ({"responded_at": datetime.now(UTC) + timedelta(hours=2)}, "bob answered too late"),
        ({"error": "late"}, "nobody answered in time"),
    ],
)
def test_everything_else_fails_closed(questions: Questions, change: dict[str, Any], said: str) -> None:
    gate, seen = sensor(), context()
    kwargs = asked_of(gate, seen)
    form = {name: change[name] for name in ("by", "option", "reason", "digest") if name in change}
    event = {**questions.answer(**form), **{k: change[k] for k in change.keys() - form.keys()}}
    with pytest.raises(AirflowFailException, match=rf"did not pass \(no_data\): .*{said}"):
        gate.answered(seen, event, **kwargs)
    assert "waiver" not in seen["ti"].pushed
    assert all(said in entry.body["refused"] for scope in SCOPES for entry in recorded(scope))
    assert len(recorded(SCOPES[0])) == (0 if change.keys() & {"digest", "error"} else 1)


def test_who_asked_for_the_run_answers_only_where_the_policy_lets_him(questions: Questions) -> None:
    for lets in (False, True):
        gate, seen = sensor(ask={"requester_may_approve": lets}), context()
        kwargs = asked_of(gate, seen)
        answer = questions.answer(by="alice")
        if lets:
            assert gate.answered(seen, answer, **kwargs)["waived"]
        else:
            with pytest.raises(AirflowFailException, match="alice asked for this run and may not approve it"):
                gate.answered(seen, answer, **kwargs)


def test_another_text_than_the_first_is_refused(questions: Questions) -> None:
    parked(lambda: sensor().execute(context()))
    parked(lambda: sensor().execute(context()))
    assert questions.asked[0] == questions.asked[1], "the same silence is asked about with the same words"
    with pytest.raises(AirflowFailException, match="text of an earlier try"):
        sensor(checks=[{**SILENT, "name": "latency"}]).execute(context())


def test_a_ledger_that_is_not_to_be_trusted_lets_nothing_go_on(questions: Questions, tmp_path: Path) -> None:
    gate, seen = sensor(), context()
    kwargs = asked_of(gate, seen)
    settings.ledger("prod/aws").append("test", {})
    (tmp_path / "ledger/prod/aws/00000000.json").unlink()
    (tmp_path / "ledger/prod/aws/00000000.json").write_text(
        '{"number": 0, "previous": "x", "kind": "k", "at": "t", "body": {}, "key": "a", "seal": "b"}'
    )
    with pytest.raises(AirflowFailException, match="not to be trusted"):
        gate.answered(seen, questions.answer(), **kwargs)


def test_without_a_key_to_sign_with_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__TRIPLANE__SIGNING_KEY")
    with pytest.raises(AirflowFailException, match=r"`no_data: ask` signs what people answer: .*signing_key"):
        sensor().execute(context())
    with pytest.raises(AirflowFailException, match=r"`ask`: .*'people'"):
        sensor(ask={"people": []}).execute(context())


def test_a_bad_sample_decides_even_after_silence_that_would_ask() -> None:
    with serving(*[(200, "ok")] * 6, (500, "no")) as service:
        bad = {**SILENT, "name": "answers", "query": {"url": service.url}, "lasting": 5.0, "no_data": "wait"}
        verdict = judged(SILENT, bad)
    assert (verdict.state, verdict.asks) == ("fail", False)


@pytest.mark.parametrize(
    ("verdicts", "asks"),
    [
        ([("no_data", True), ("pass", False)], True),
        ([("no_data", True), ("no_data", True)], True),
        ([("no_data", True), ("no_data", False)], False),
        ([("no_data", True), ("fail", False)], False),
        ([("pass", False)], False),
    ],
)
def test_a_person_is_asked_only_where_all_that_is_silent_says_so(verdicts: Any, asks: bool) -> None:
    found = {str(n): Verdict(state, "r", 1, (), each) for n, (state, each) in enumerate(verdicts)}
    combined = combine(found)
    assert combined.asks is asks
    assert combined.goes_on is (combined.state == "pass")


def test_a_waiver_for_later_steps_is_for_this_gate_in_this_run(questions: Questions) -> None:
    seen = context()
    verdict = judged(SILENT)
    question = asking.Question(gate="aws/function/hook", verdict=verdict, terms=TERMS, steps=True)
    waits = parked(lambda: asking.ask(seen, question, method="go_on", kwargs={"step": 1}))
    assert waits.kwargs is not None
    assert questions.asked[0].params["later"]["value"] is False
    for later in (False, True):
        answer = questions.answer(later=later)
        after, waiver = asking.answered(seen, question, answer, waits.kwargs["asked_at"])
        assert after.goes_on
        assert waiver is not None
        again = asking.earlier(seen, "aws/function/hook", waiver.to_json())
        assert (again == waiver) if later else (again is None)
    assert asking.earlier(seen, "aws/function/other", waiver.to_json()) is None
    forged = {**waiver.to_json(), "run_id": "r2"}
    seen["ti"].map_index = 1
    assert asking.earlier(seen, "aws/function/hook", waiver.to_json()) is None, "it is another task's"
    seen["ti"].map_index, seen["dag_run"].run_id = -1, "r2"
    assert asking.earlier(seen, "aws/function/hook", forged) is None, "its signature does not hold"


def test_a_failed_verdict_is_never_waived() -> None:
    assert not Verdict("fail", "r", 1, (), waived="bob let it go on").goes_on
