"""Real Terraform, local state, real artifact store and ledger; the operators are called as Airflow calls them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.fernet import Fernet

from triplane import settings
from triplane.core import process
from triplane.core.approval import Decision, Policy
from triplane.core.change import ChangeSet, ComponentChange
from triplane.terraform.operators import (
    TerraformApplyOperator,
    TerraformDriftOperator,
    TerraformPlanOperator,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH"),
]

SECRET = "correct-horse-battery"

SIMPLE = """
terraform {
  backend "local" {}
}
variable "size" {
  type    = string
  default = "small"
}
variable "password" {
  type      = string
  sensitive = true
  default   = "none"
}
resource "terraform_data" "network" { input = var.size }
resource "terraform_data" "database" { input = var.password }
output "id" { value = terraform_data.network.id }
output "size" { value = terraform_data.network.output }
output "password" {
  value     = terraform_data.database.output
  sensitive = true
}
"""

BLOCKED = """
terraform {
  backend "local" {}
}
variable "size" { default = "small" }
resource "terraform_data" "slow" {
  input = var.size
  provisioner "local-exec" { command = "sleep 60" }
}
"""

SLOW = """
terraform {
  backend "local" {}
}
resource "terraform_data" "first" {}
resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" { command = "sleep 60" }
}
"""


class Lab:
    """One stack with its state, artifact store and ledger."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = home / "store"
        self.state = home / "state" / "network.tfstate"
        self.run = "run1"
        self.stack("network", SIMPLE)

    def stack(self, name: str, hcl: str) -> None:
        (self.home / "infra" / name).mkdir(parents=True, exist_ok=True)
        (self.home / "infra" / name / "main.tf").write_text(hcl)

    def kwargs(self, name: str = "network", **more: Any) -> dict[str, Any]:
        return {
            "task_id": "t",
            "path": f"{self.home}/infra//{name}",
            "address": f"aws/stack/{name}",
            "scope": "staging/aws",
            "backend": {"path": str(self.state.with_name(f"{name}.tfstate"))},
            "lock_timeout": 1,
            **more,
        }

    def context(self) -> dict[str, Any]:
        return {"dag_run": SimpleNamespace(dag_id="deploy_aws", run_id=self.run)}

    def plan(self, name: str = "network", **more: Any) -> dict[str, Any]:
        return TerraformPlanOperator(**self.kwargs(name, **more)).execute(self.context())

    def apply(self, change: dict[str, Any], name: str = "network", **more: Any) -> dict[str, Any]:
        return TerraformApplyOperator(**self.kwargs(name, change=change, **more)).execute(self.context())

    def drift(self, name: str = "network", **more: Any) -> dict[str, Any]:
        return TerraformDriftOperator(**self.kwargs(name, **more)).execute(self.context())

    def serial(self, name: str = "network") -> int:
        return int(json.loads(self.state.with_name(f"{name}.tfstate").read_text())["serial"])

    def kinds(self) -> list[str]:
        return [entry.kind.removeprefix("terraform.") for entry in settings.ledger("staging/aws").entries()]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/dev/null")
    return Lab(tmp_path)


def test_apply_once_then_nothing_to_do(lab: Lab) -> None:
    change = lab.plan()
    assert (change["action"], change["risk"], change["summary"]) == ("create", "low", "2 to add")
    assert change["binds"]["lineage"] == ""
    assert change["binds"]["serial"] == 0
    result = lab.apply(change)
    assert result["state"] == "deployed"
    assert result["version"] == f"serial {lab.serial()}"
    assert settings.lookup("staging/aws")("network.size") == "small"
    again = lab.plan()
    assert (again["action"], again["binds"]["serial"]) == ("none", lab.serial())
    assert lab.apply(again)["state"] == "unchanged"
    assert lab.kinds() == ["applying", "applied"]


def test_outputs_of_an_unchanged_stack_are_known(lab: Lab) -> None:
    lab.apply(lab.plan())
    shutil.rmtree(lab.store)
    lab.plan()
    assert settings.lookup("staging/aws")("network.size") == "small"


def test_a_changed_byte_is_refused(lab: Lab) -> None:
    change = lab.plan()
    blob = lab.store / "blobs" / change["binds"]["plan"].removeprefix("sha256:")
    data = bytearray(blob.read_bytes())
    data[100] ^= 1
    blob.write_bytes(data)
    with pytest.raises(AirflowFailException, match="was changed after it was stored"):
        lab.apply(change)
    assert not lab.state.exists()


def test_a_change_that_names_another_plan_is_refused(lab: Lab) -> None:
    change = lab.plan()
    change["binds"]["plan"] = "sha256:" + "0" * 64
    with pytest.raises(AirflowFailException, match="not in the artifact store"):
        lab.apply(change)


def test_other_source_or_variables_are_refused(lab: Lab) -> None:
    change = lab.plan()
    with pytest.raises(AirflowFailException, match="variables differs from what was approved"):
        lab.apply(change, variables={"size": "large"})
    with pytest.raises(AirflowFailException, match="backend differs from what was approved"):
        lab.apply(change, backend={"path": str(lab.home / "elsewhere.tfstate")})
    lab.stack("network", SIMPLE + "# changed\n")
    with pytest.raises(AirflowFailException, match="source differs from what was approved"):
        lab.apply(change)
    assert not lab.state.exists()


def test_a_stale_serial_is_refused(lab: Lab) -> None:
    lab.apply(lab.plan())
    change = lab.plan(variables={"size": "medium"})
    lab.apply(lab.plan(variables={"size": "large"}), variables={"size": "large"})
    before = lab.state.read_bytes()
    with pytest.raises(AirflowFailException, match="plan was approved for serial"):
        lab.apply(change, variables={"size": "medium"})
    assert lab.state.read_bytes() == before


def test_a_first_plan_is_applied_once_even_when_the_state_is_gone(lab: Lab) -> None:
    change = lab.plan()
    lab.apply(change)
    lab.state.unlink()
    with pytest.raises(AirflowFailException, match="a plan is applied once"):
        lab.apply(change)
    assert not lab.state.exists()


def test_a_retry_after_the_apply_hands_over_the_outputs(lab: Lab) -> None:
    change = lab.plan()
    first = lab.apply(change)
    assert lab.apply(change)["version"] == first["version"]
    lab.run = "run2"
    with pytest.raises(AirflowFailException, match="a plan is applied once"):
        lab.apply(change)


def test_a_locked_state_says_who_holds_it_and_can_be_retried(lab: Lab) -> None:
    lab.stack("slow", BLOCKED)
    large = {"size": "large"}
    first, second = lab.plan("slow"), lab.plan("slow", variables=large)
    thread = _in_background(lab, lambda: lab.apply(first, "slow"))
    try:
        _wait(lambda: _locked(lab, "slow"))
        with pytest.raises(
            AirflowException, match=r"locked by .*@.* \(OperationTypeApply\) since"
        ) as refused:
            lab.apply(second, "slow", variables=large)
        assert not isinstance(refused.value, AirflowFailException)
        assert lab.kinds() == ["applying", "applying", "not_started"]
    finally:
        process.stop_all()
        thread.join(30)


def test_cancel_saves_the_state_and_frees_the_lock(lab: Lab) -> None:
    lab.stack("slow", SLOW)
    change = lab.plan("slow")
    operator = TerraformApplyOperator(**lab.kwargs("slow", change=change))
    failed: list[BaseException] = []
    thread = _in_background(lab, lambda: operator.execute(lab.context()), failed)
    _wait(lambda: _locked(lab, "slow"))
    operator.on_kill()
    thread.join(30)
    assert isinstance(failed[0], AirflowFailException)
    _freed_and_saved(lab)
    with pytest.raises(AirflowFailException, match="began to apply this plan, and that failed"):
        lab.apply(change, "slow")


def test_timeout_saves_the_state_and_frees_the_lock(lab: Lab) -> None:
    lab.stack("slow", SLOW)
    change = lab.plan("slow")
    with pytest.raises(AirflowFailException, match="was stopped after its limit of 3 s"):
        lab.apply(change, "slow", command_timeout=3)
    _freed_and_saved(lab)


def test_sigkill_of_the_task_saves_the_state_and_frees_the_lock(lab: Lab) -> None:
    lab.stack("slow", SLOW)
    change = lab.plan("slow")
    script = (
        "import json, sys\nfrom types import SimpleNamespace\n"
        "from triplane.terraform.operators import TerraformApplyOperator\n"
        "run = SimpleNamespace(dag_id='deploy_aws', run_id='run1')\n"
        "TerraformApplyOperator(**json.load(sys.stdin)).execute({'dag_run': run})\n"
    )
    task = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    assert task.stdin is not None
    task.stdin.write(json.dumps(lab.kwargs("slow", change=change)).encode())
    task.stdin.close()
    _wait(lambda: _locked(lab, "slow"))
    task.send_signal(signal.SIGKILL)
    task.wait()
    _wait(lambda: not _locked(lab, "slow"))
    _freed_and_saved(lab)
    with pytest.raises(AirflowFailException, match="began to apply this plan, and that did not finish"):
        lab.apply(change, "slow")


def test_a_secret_shows_nowhere(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_DB_PASSWORD", SECRET)
    variables = {"password": "${variable.db_password}"}
    change = lab.plan(variables=variables)
    result = lab.apply(change, variables=variables)
    monkeypatch.setenv("AIRFLOW_VAR_DB_PASSWORD", f"{SECRET}-2")
    update = lab.plan(variables=variables)
    assert "~ terraform_data.database: input (sensitive) -> (sensitive)" in "\n".join(update["lines"])
    drift = lab.drift(variables=variables)
    assert SECRET in lab.state.read_text()
    assert SECRET not in json.dumps([change, result, update, drift])
    logged = "".join(capfd.readouterr())
    assert SECRET not in logged
    assert "Creation complete" in logged
    kept = [path for path in lab.store.rglob("*") if path.is_file()]
    assert len(kept) >= 4
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


UPSTREAM_READER = """
terraform {
  backend "local" {}
}
variable "network" { type = string }
resource "terraform_data" "cluster" { input = var.network }
"""


def test_a_secret_of_the_past_shows_nowhere(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """terraform_data copies the sensitive input to an output that it does not mark."""
    variables = {"password": "${variable.db_password}"}
    monkeypatch.setenv("AIRFLOW_VAR_DB_PASSWORD", SECRET)
    lab.apply(lab.plan(variables=variables), variables=variables)
    monkeypatch.setattr(settings, "_secrets", set())
    monkeypatch.setenv("AIRFLOW_VAR_DB_PASSWORD", "another-one")
    change = lab.plan(variables=variables)
    assert SECRET not in json.dumps(change) + "".join(capfd.readouterr())


def test_a_stack_is_planned_after_its_upstream_on_real_outputs(lab: Lab) -> None:
    lab.stack("cluster", UPSTREAM_READER)
    variables = {"network": "${network.size}"}
    network = lab.plan()
    cluster = lab.plan("cluster", variables=variables, after={"network": str(network)})
    assert (cluster["action"], cluster["risk"]) == ("deferred", "low")
    assert cluster["summary"] == "planned after network is applied, on real outputs"
    lab.apply(network)
    assert lab.apply(cluster, "cluster", variables=variables)["state"] == "deployed"
    assert '"small"' in lab.state.with_name("cluster.tfstate").read_text()
    assert lab.apply(cluster, "cluster", variables=variables)["state"] == "deployed", "a retry"
    again = lab.plan("cluster", variables=variables, after={"network": lab.plan()})
    assert again["action"] == "none"


def test_a_deferred_plan_above_its_ceiling_is_refused(lab: Lab) -> None:
    hcl = UPSTREAM_READER.replace(
        "input = var.network", "input = var.network\n  triggers_replace = var.network"
    )
    hcl = hcl.replace("{ input", "{\n  input").replace("var.network }", "var.network\n}")
    lab.stack("cluster", hcl)
    variables = {"network": "${network.size}"}
    lab.apply(lab.plan())
    lab.apply(lab.plan("cluster", variables=variables), "cluster", variables=variables)
    network = lab.plan(variables={"size": "large"})
    cluster = lab.plan("cluster", variables=variables, after={"network": network})
    assert (cluster["action"], cluster["risk"]) == ("deferred", "medium")
    lab.apply(network, variables={"size": "large"})
    before = lab.serial("cluster")
    with pytest.raises(AirflowFailException, match=r"high risk .* more than the medium that was approved"):
        lab.apply(cluster, "cluster", variables=variables)
    assert lab.serial("cluster") == before


def test_a_deferred_plan_without_changes_is_unchanged(lab: Lab) -> None:
    lab.stack("cluster", UPSTREAM_READER.replace("var.network }", '"fixed" }'))
    lab.apply(lab.plan())
    variables = {"network": "${network.size}"}
    lab.apply(lab.plan("cluster", variables=variables), "cluster", variables=variables)
    network = lab.plan(variables={"size": "large"})
    cluster = lab.plan("cluster", variables=variables, after={"network": network})
    assert lab.apply(cluster, "cluster", variables=variables)["state"] == "unchanged"


def test_drift_never_says_in_sync_when_it_could_not_look(lab: Lab) -> None:
    assert lab.drift()["state"] == "unknown"
    lab.apply(lab.plan())
    assert lab.drift() == {"address": "aws/stack/network", "state": "in_sync", "resources": []}
    lab.stack("network", SIMPLE + "broken")
    with pytest.raises(AirflowException):
        lab.drift()


def test_only_a_signed_approval_of_this_change_set_is_applied(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "k" * 40
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", key)
    change = lab.plan()
    digest = settings.put_change_set(_change_set(change))
    decision = _decision(digest, run="run1").sign([key])

    def apply(*decisions: Decision) -> dict[str, Any]:
        authorization = {"decisions": [item.to_json() for item in decisions]}
        more = {"change_set": digest, "authorization": json.dumps(authorization), "change": None}
        return TerraformApplyOperator(**lab.kwargs(**more)).execute(lab.context())

    with pytest.raises(AirflowFailException, match="is not approved: 1 needed, 0 found"):
        apply()
    with pytest.raises(AirflowFailException, match="signature is not from a worker"):
        apply(replace(decision, responder="mallory"))
    with pytest.raises(AirflowFailException, match="was given to run run2"):
        apply(_decision(digest, run="run2").sign([key]))
    assert not lab.state.exists()
    assert apply(decision)["state"] == "deployed"


def _change_set(change: dict[str, Any]) -> ChangeSet:
    return ChangeSet(
        platform="p",
        environment="staging",
        cloud="aws",
        revision="r",
        source="s",
        spec="s",
        policy=Policy().to_json(),
        changes=(ComponentChange.from_json(change),),
    )


def _decision(change_set: str, run: str) -> Decision:
    return Decision(
        dag_id="deploy_aws",
        run_id=run,
        vote=0,
        requester="alice",
        responder="bob",
        approved=True,
        change_sets={"aws": change_set},
        decided_at="2026-01-01T00:00:00+00:00",
        expires_at="2999-01-01T00:00:00+00:00",
    )


def test_destroy(lab: Lab) -> None:
    lab.apply(lab.plan())
    change = lab.plan(destroy=True)
    assert (change["action"], change["risk"], change["summary"]) == ("destroy", "high", "2 to destroy")
    with pytest.raises(AirflowFailException, match="variables differs"):
        lab.apply(change)
    lab.apply(change, destroy=True)
    assert json.loads(lab.state.read_text())["resources"] == []


def test_by_hand_a_stack_without_backend_keeps_its_state_beside_it(lab: Lab) -> None:
    lab.stack("plain", 'resource "terraform_data" "a" {}')
    kwargs = {"task_id": "t", "path": str(lab.home / "infra" / "plain"), "scope": "by_hand"}
    change = TerraformPlanOperator(**kwargs).execute(lab.context())
    assert change["address"] == "local/stack/plain"
    result = TerraformApplyOperator(**kwargs, change=str(change)).execute(lab.context())
    assert result["state"] == "deployed"
    assert (lab.home / "infra" / "plain" / "terraform.tfstate").exists()
    assert TerraformPlanOperator(**kwargs).execute(lab.context())["action"] == "none"


def test_a_missing_binary_and_a_missing_output_are_said_clearly(lab: Lab) -> None:
    with pytest.raises(AirflowFailException, match="no-such-terraform is not installed"):
        lab.plan(terraform_bin="no-such-terraform")
    with pytest.raises(AirflowFailException, match=r"\$\{other\.id\} has no value"):
        lab.plan(variables={"size": "${other.id}"})


def _in_background(
    lab: Lab, work: Callable[[], Any], failed: list[BaseException] | None = None
) -> threading.Thread:
    def target() -> None:
        try:
            work()
        except Exception as error:
            if failed is not None:
                failed.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    return thread


def _locked(lab: Lab, name: str) -> bool:
    """Applying, and far enough that the first resource exists and the second one is being made."""
    info = lab.state.with_name(f".{name}.tfstate.lock.info")
    if not info.exists():
        return False
    time.sleep(0.5)
    return info.exists()


def _wait(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def _freed_and_saved(lab: Lab) -> None:
    assert not lab.state.with_name(".slow.tfstate.lock.info").exists()
    state = json.loads(lab.state.with_name("slow.tfstate").read_text())
    assert "first" in [resource["name"] for resource in state["resources"]]
    env = {**os.environ, "TF_IN_AUTOMATION": "1"}
    subprocess.run(
        ["terraform", "init", "-input=false", f"-backend-config=path={lab.state.with_name('slow.tfstate')}"],
        cwd=lab.home / "infra" / "slow",
        env=env,
        check=True,
        capture_output=True,
    )
    plan = ["terraform", "plan", "-input=false", "-lock-timeout=0s"]
    subprocess.run(plan, cwd=lab.home / "infra" / "slow", env=env, check=True, capture_output=True)
