"""What the operators do around Ansible, with its runs given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.fernet import Fernet

from triplane.machines import setup
from triplane.machines.ansible import Play
from triplane.machines.drift_operators import AnsibleDriftBatchOperator
from triplane.machines.events import HostSummary, Recap, TaskResult
from triplane.machines.hosts import Host
from triplane.machines.operators import AnsibleApplyOperator, AnsiblePlanOperator

HOSTS = {"a": {"address": "10.0.0.1", "host_key": "ssh-ed25519 AAAA"}}


class Fake:
    """Ansible that changes one file, once; ``silent`` tells nothing of it in check mode."""

    def __init__(self) -> None:
        self.done = False
        self.away = False
        self.plays: list[Play] = []

    def run(self, play: Play, job: Any = None) -> Recap:
        self.plays.append(play)
        state = "unreachable" if self.away else "ok" if self.done else "changed"
        self.done = self.done or (not play.check and not self.away)
        result = TaskResult(
            host="a", task="t", action="copy", where="p:1", state=state, message="no route", diff=("+x",)
        )
        counts = {"changed": {"ok": 1, "changed": 1}}.get(state, {state: 1})
        return Recap(hosts={"a": HostSummary(**counts)}, targets={"a"}, results=[result], complete=True)

    def left_over(self, job: Any) -> None:
        return None


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    (tmp_path / "ansible").mkdir()
    (tmp_path / "ansible/site.yml").write_text("- hosts: all\n")
    monkeypatch.chdir(tmp_path)
    found = Fake()

    @contextmanager
    def opened(given: setup.Setup, **kwargs: Any) -> Iterator[tuple[Fake, tuple[Host, ...]]]:
        yield found, tuple(given.hosts or ())

    monkeypatch.setattr(setup, "opened", opened)
    return found


def kwargs(**more: Any) -> dict[str, Any]:
    known = {
        "task_id": "t",
        "address": "aws/machines/w",
        "scope": "staging/aws",
        "playbook": "ansible/site.yml",
    }
    return {**known, "hosts": HOSTS, **more}


def context(run_id: str = "r") -> Any:
    run = SimpleNamespace(dag_id="d", run_id=run_id)
    return {"ti": SimpleNamespace(xcom_push=lambda key, value: None), "dag_run": run}


def plan(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = AnsiblePlanOperator(**kwargs(**more)).execute(context())
    return found


def apply(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = AnsibleApplyOperator(**kwargs(**more)).execute(context())
    return found


def drift() -> dict[str, Any]:
    unit = {name: value for name, value in kwargs().items() if name != "task_id"}
    (found,) = AnsibleDriftBatchOperator(task_id="drift", components=[unit]).execute({})
    return dict(found)


def test_what_was_there_already_is_remembered_as_if_it_had_run(fake: Fake) -> None:
    fake.done = True
    change = plan()
    assert change["action"] == "none"
    assert drift()["pending"] == "it never ran"
    assert apply(change=change)["state"] == "unchanged"
    assert drift()["state"] == "in_sync"
    assert all(play.check for play in fake.plays), "nothing was run"


def test_another_text_with_the_same_effect_is_not_pending_for_ever(fake: Fake) -> None:
    apply()
    Path("ansible/README").write_text("A word")
    assert drift()["state"] == "pending"
    assert plan()["action"] == "none"
    assert drift()["state"] == "in_sync"


def test_a_plan_needs_every_host(fake: Fake) -> None:
    fake.away = True
    with pytest.raises(AirflowException, match=r"1 of 1 hosts are unreachable.*\(a: no route\)"):
        plan()


def test_a_machine_that_is_away_is_unknown_and_not_in_sync(fake: Fake) -> None:
    apply()
    fake.away = True
    found = drift()
    assert found["state"] == "unknown"
    assert "1 of 1 hosts could not be looked at (a: no route)" in found["error"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"hosts": None}, "give `hosts` or `inventory`"),
        ({"inventory": ["x"]}, "give `hosts` or `inventory`"),
        ({"playbook": "ansible/nowhere.yml"}, "there is no such playbook"),
        ({"ssh": {"ProxyCommand": "x ${variable.token}"}}, "must hold no secret"),
        ({"key": "${variable.nobody_has_this}"}, "nobody_has_this"),
        ({"variables": {"token": "${variable.nobody_has_this}"}}, "nobody_has_this"),
    ],
)
def test_what_is_wrong_is_said_while_planning(fake: Fake, more: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        plan(**more)
    assert not fake.plays


def test_secrets_are_only_where_they_must_be(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", "planted-value")
    operator = AnsibleApplyOperator(
        **kwargs(variables={"url": "amqp://u:${variable.token}@h", "level": "info"}, key="${variable.token}")
    )
    given = operator.setup("ansible/site.yml")
    assert given.secrets == {"url": "amqp://u:planted-value@h"}
    assert given.variables == {"level": "info"}
    assert "planted" not in repr(given)
    operator.execute(context())
    kept = operator.kept()
    assert kept is not None
    assert "planted" not in json.dumps([dict(kept.arguments), kept.settings])


STACK = {"risk": "high", "summary": "1 to replace", "binds": {}}
REPLACED = {"cluster": {"address": "aws/stack/cluster", "action": "update", **STACK}}
SAME = {"cluster": {"address": "aws/stack/cluster", "action": "none", **STACK, "risk": "none"}}


def test_a_stack_that_may_replace_machines_makes_no_plan_stale(fake: Fake) -> None:
    change = AnsiblePlanOperator(**kwargs(after=REPLACED)).execute(context())
    assert change["summary"] == (
        "run site.yml on the machines that are there after cluster; now run site.yml on 1 of 1 host: 1 to change"
    )
    assert change["lines"][0].startswith("? what follows is of now: cluster may change the machines")
    assert change["lines"][1:] == ["~ a: t (copy)", "    +x"]
    other = {"b": {"address": "10.0.0.2", "host_key": "ssh-ed25519 BBBB"}}
    assert (
        AnsibleApplyOperator(**kwargs(hosts=other, change=change)).execute(context())["state"] == "deployed"
    )

    fake.done, fake.away = False, True
    change = AnsiblePlanOperator(**kwargs(after=REPLACED)).execute(context())
    assert change["summary"] == "run site.yml on all its hosts, known after a stack is applied"
    with pytest.raises(AirflowException, match="unreachable"):
        AnsiblePlanOperator(**kwargs(after=SAME)).execute(context())


def test_after_a_stack_that_left_the_machines_alone_nothing_has_changed(fake: Fake) -> None:
    apply(change=plan())
    later = AnsiblePlanOperator(**kwargs(after=REPLACED)).execute(context("again"))
    assert later["action"] == "update"
    result = AnsibleApplyOperator(**kwargs(change=later)).execute(context("again"))
    assert (result["state"], fake.plays[-1].check) == ("unchanged", False), "it ran, and had nothing to do"


def test_other_machines_than_those_of_the_plan_are_refused_where_no_stack_was_pending(fake: Fake) -> None:
    change = AnsiblePlanOperator(**kwargs(after=SAME)).execute(context())
    other = {"b": {"address": "10.0.0.2", "host_key": "ssh-ed25519 BBBB"}}
    with pytest.raises(AirflowFailException, match="not those that were planned for"):
        AnsibleApplyOperator(**kwargs(hosts=other, change=change)).execute(context())
