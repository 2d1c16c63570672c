"""The bundled Terraform and OpenTofu, driven as the program ``terraform`` is: plan, apply, drift, interrupts, destroy."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tests.e2e import fake_tofu
from tests.e2e.terraform_lab import BLOCKED, SIMPLE, SLOW, Lab, applying, in_background, locked, wait_for
from triplane import settings
from triplane.core import process
from triplane.core.errors import StaleError
from triplane.terraform.operators import TerraformApplyOperator

TASK = """
import json, sys
from types import SimpleNamespace
from triplane.terraform.operators import TerraformApplyOperator
run = SimpleNamespace(dag_id="deploy_aws", run_id="run1")
TerraformApplyOperator(**json.load(sys.stdin)).execute({"dag_run": run})
"""


@pytest.fixture(params=["bundled", "tofu"])
def tool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A worker without ``terraform``: PATH leads only to what HCL of these tests runs, and to ``tofu``."""
    real = {name: shutil.which(name) for name in ("terraform", "tofu", "sleep")}
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sleep").symlink_to(str(real["sleep"]))
    if request.param == "tofu":
        if real["tofu"]:
            (folder / "tofu").symlink_to(real["tofu"])
        elif real["terraform"]:
            script = f'#!/bin/sh\nexec {sys.executable} -I {fake_tofu.__file__} {real["terraform"]} "$@"\n'
            (folder / "tofu").write_text(script)
            (folder / "tofu").chmod(0o755)
        else:
            pytest.fail("neither tofu nor terraform is on PATH; make setup installs it")
    monkeypatch.setenv("PATH", str(folder))
    return str(request.param)


def test_plan_apply_drift_destroy(lab: Lab, tool: str, capfd: pytest.CaptureFixture[str]) -> None:
    change = lab.plan()
    said = "".join(capfd.readouterr())
    assert ("terraform 1." if tool == "bundled" else "tofu 1.") in said
    assert (change["action"], change["summary"]) == ("create", "2 to add")
    assert lab.apply(change)["state"] == "deployed"
    assert settings.lookup("staging/aws")("network.size") == "small"
    assert lab.plan()["action"] == "none"
    assert lab.drift()["state"] == "in_sync"
    assert lab.drift(variables={"size": "large"})["state"] == "pending"
    lab.destroy(lab.plan(intent="destroy"))
    assert json.loads(lab.state.read_text())["resources"] == []
    assert lab.kinds() == ["applying", "applied"] * 2


def test_a_stale_plan_is_refused_by_the_tool_itself(lab: Lab, tool: str) -> None:
    """The ledger would refuse it first: the state moves between its look and the apply."""
    stale, other = lab.plan(), lab.plan(variables={"size": "large"})
    lab.apply(other, variables={"size": "large"})
    with pytest.raises(AirflowFailException, match="the state has moved"):
        lab.apply(stale)
    operator = TerraformApplyOperator(**lab.kwargs(change=stale))
    with operator.opened(operator.stack_source(), {}) as stack:
        plan = stack.fetch(stale["binds"]["plan"], settings.artifact_store())
        with pytest.raises(StaleError, match="the state has changed since this plan was made; plan again"):
            stack.terraform.apply(plan)


def test_cancel_in_mid_apply(lab: Lab, tool: str) -> None:
    lab.stack("slow", SLOW)
    operator = TerraformApplyOperator(**lab.kwargs("slow", change=lab.plan("slow")))
    failed: list[BaseException] = []
    thread = in_background(lab, lambda: operator.execute(lab.context()), failed)
    wait_for(lambda: applying(lab, "slow"))
    operator.on_kill()
    thread.join(30)
    assert isinstance(failed[0], AirflowFailException)
    name = "terraform" if tool == "bundled" else "tofu"
    assert f"{name} apply ended with 1" in str(failed[0])
    _freed_saved_and_destroyed(lab)


@pytest.mark.parametrize("victim", ["task", "guardian"])
def test_kill_in_mid_apply(lab: Lab, tool: str, victim: str) -> None:
    """The tool is interrupted by its guardian, or by the kernel."""
    lab.stack(
        "slow", SLOW.replace('"sleep', '"exec sleep')
    )  # else a shell's child would outlive the guardian
    arguments = lab.kwargs("slow", change=lab.plan("slow"))
    task = subprocess.Popen([sys.executable, "-c", TASK], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert task.stdin is not None
    task.stdin.write(json.dumps(arguments).encode())
    task.stdin.close()
    wait_for(lambda: applying(lab, "slow"))
    os.kill(task.pid if victim == "task" else _guardian_of(task.pid), signal.SIGKILL)
    task.wait(30)
    wait_for(lambda: not locked(lab, "slow"))
    _freed_saved_and_destroyed(lab)


def test_a_lock_is_said_with_the_tool_that_frees_it(lab: Lab, tool: str) -> None:
    lab.stack("slow", BLOCKED)
    large = {"size": "large"}
    first, second = lab.plan("slow"), lab.plan("slow", variables=large)
    thread = in_background(lab, lambda: lab.apply(first, "slow"))
    try:
        wait_for(lambda: locked(lab, "slow"))
        name = "terraform" if tool == "bundled" else "tofu"
        with pytest.raises(
            AirflowException, match=rf"locked by .*OperationTypeApply.* free it .*: {name} force-unlock"
        ):
            lab.apply(second, "slow", variables=large)
    finally:
        process.stop_all()
        thread.join(30)


def test_required_version_is_refused_before_anything_runs(lab: Lab, tool: str) -> None:
    name = "terraform" if tool == "bundled" else "tofu"
    with pytest.raises(
        AirflowFailException,
        match=rf'the platform spec: required_version = "~> 1\.8\.0" does not accept {name} 1',
    ):
        lab.plan(required_version="~> 1.8.0")
    lab.plan()
    with pytest.raises(AirflowFailException, match="does not accept"):
        lab.plan(required_version="~> 1.8.0")
    assert lab.plan(required_version="~> 1.9")["action"] == "create"


def test_the_operator_is_asked_before_the_configuration(
    lab: Lab, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__TERRAFORM_BIN", "no-such-terraform")
    with pytest.raises(AirflowFailException, match="no-such-terraform is not installed or not on PATH"):
        lab.plan()
    assert lab.plan(terraform_bin=tool)["action"] == "create"


@pytest.mark.parametrize("tool", ["tofu"], indirect=True)
def test_tofu_files(lab: Lab, tool: str) -> None:
    """A Terraform that saw main.tf would fail, and one that did not see the backend would lose the state."""
    lab.stack("network", "this is not HCL")
    (lab.home / "infra/network/main.tofu").write_text(SIMPLE)
    with pytest.raises(AirflowException, match=r"main\.tf"):
        lab.plan(terraform_bin="bundled")
    lab.apply(lab.plan())
    assert lab.state.exists()
    assert settings.lookup("staging/aws")("network.size") == "small"
    assert lab.plan()["action"] == "none"


ENCRYPTION = """
key_provider "pbkdf2" "k" {
  passphrase = "correct-horse-battery-staple"
}
method "aes_gcm" "m" {
  keys = key_provider.pbkdf2.k
}
plan {
  method = method.aes_gcm.m
}
"""


@pytest.mark.parametrize("tool", ["tofu"], indirect=True)
def test_an_encrypted_plan(lab: Lab, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Triplane else reads in the file itself, it asks OpenTofu for."""
    monkeypatch.setenv("TF_ENCRYPTION", ENCRYPTION)
    change = lab.plan()
    assert (change["summary"], change["binds"]["serial"]) == ("2 to add", 0)
    assert lab.apply(change)["state"] == "deployed"
    assert lab.drift()["state"] == "in_sync"
    again = lab.plan(variables={"size": "large"})
    assert (again["binds"]["lineage"], again["binds"]["serial"]) == (_lineage(lab), lab.serial())


def test_the_stand_in_refuses_what_opentofu_does_not_know(tmp_path: Path) -> None:
    for arguments in (
        ["plan", "-lock-time=3s"],
        ["init", "folder"],
        ["apply", "-json"],
        ["state", "pull", "-lock=false"],
    ):
        done = subprocess.run(
            [sys.executable, fake_tofu.__file__, "/bin/false", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "Failed to parse command-line flags" in done.stderr


def _lineage(lab: Lab) -> str:
    return str(json.loads(lab.state.read_text())["lineage"])


def _guardian_of(task: int) -> int:
    children = Path(f"/proc/{task}/task/{task}/children").read_text().split()
    (found,) = (pid for pid in children if b"\0apply\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return int(found)


def _freed_saved_and_destroyed(lab: Lab) -> None:
    assert not lab.state.with_name(".slow.tfstate.lock.info").exists()
    state = json.loads(lab.state.with_name("slow.tfstate").read_text())
    assert "first" in [resource["name"] for resource in state["resources"]]
    lab.run = "run2"
    lab.destroy(lab.plan("slow", intent="destroy"), "slow")
    assert json.loads(lab.state.with_name("slow.tfstate").read_text())["resources"] == []
