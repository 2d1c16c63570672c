"""Twenty machines, of which two are away and one is broken."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowException
from cryptography.fernet import Fernet

from tests.e2e.test_kubernetes import until
from tests.machine_lab import SECRET, Lab
from triplane.machines.drift_operators import AnsibleDriftBatchOperator
from triplane.sandbox.machines.machine import Machine, key_pair
from triplane.sandbox.runtime import Sandbox, listens

pytestmark = pytest.mark.campaign
AWAY, BROKEN = ("m19", "m20"), "m07"


@pytest.fixture
def servers() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    found: dict[str, subprocess.Popen[bytes]] = {}
    yield found
    for server in found.values():
        server.terminate()
        server.wait()


@pytest.fixture
def lab(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    private, public = key_pair()
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", SECRET)
    monkeypatch.setenv("AIRFLOW_VAR_STREAMING_SSH_KEY", private)
    names = [f"m{number:02}" for number in range(1, 21)]
    found = Lab(tmp_path / "play", [Machine(n, tmp_path / n, sandbox.port(f"twenty-{n}")) for n in names])
    for machine in found.machines:
        machine.prepare(public)
    return found


def start(servers: dict[str, subprocess.Popen[bytes]], machines: list[Machine]) -> None:
    for machine in machines:
        servers[machine.name] = machine.start()
    until(lambda: all(listens(machine.port) for machine in machines))


def test_twenty(
    lab: Lab, servers: dict[str, subprocess.Popen[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    there = [machine for machine in lab.machines if machine.name not in AWAY]
    broken = next(machine for machine in there if machine.name == BROKEN)
    start(servers, there)
    (broken.home / "broken").touch()
    with pytest.raises(
        AirflowException, match=r"of 20 hosts 1 failed \(m07: .*\), 2 unreachable .*, 17 are done"
    ):
        lab.apply()
    states = lab.states()
    assert len(states) == 20
    assert {name for name, state in states.items() if state == "unreachable"} == set(AWAY)
    assert {name for name, state in states.items() if state == "failed"} == {BROKEN}
    assert sum(state == "changed" for state in states.values()) == 17

    (broken.home / "broken").unlink()
    start(servers, [machine for machine in lab.machines if machine.name in AWAY])
    before = {
        machine.name: (machine.folder / "log").read_text().count("Accepted publickey") for machine in there
    }
    assert lab.apply()["state"] == "deployed"
    after = {
        machine.name: (machine.folder / "log").read_text().count("Accepted publickey") for machine in there
    }
    assert {name for name in before if after[name] != before[name]} == {BROKEN}, (
        "the others were not even asked"
    )
    assert set(lab.states().values()) == {"changed"}

    lab.run = "second"
    second = lab.apply()
    assert (second["state"], second["details"]["changed"]) == ("unchanged", "0")

    lab.machines[10].home.joinpath("token").write_text("by hand\n")
    unit = {name: value for name, value in lab.kwargs().items() if name != "task_id"}
    (found,) = AnsibleDriftBatchOperator(task_id="drift", components=[unit]).execute({})
    assert [item["address"] for item in found["resources"]] == ["m11: credentials"]

    lab.run = "third"
    lab.config(lab.machines[0]).unlink()
    assert lab.apply(serial=[1, "50%"], change=lab.plan(serial=[1, "50%"]))["state"] == "deployed"
    said = capfd.readouterr()
    for text in (said.out, said.err, json.dumps([lab.xcom, found])):
        assert SECRET not in text
        assert "PRIVATE KEY" not in text
    assert "batch 3 of 3" in said.out
