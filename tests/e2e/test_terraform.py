"""Real Terraform, local state, real artifact store and ledger; the operators are called as Airflow calls them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

from tests.e2e.terraform_lab import (
    BLOCKED,
    SECRET,
    SIMPLE,
    SLOW,
    SLOW_TO_GO,
    UPSTREAM_READER,
    Lab,
    applying,
    change_set,
    decide,
    in_background,
    locked,
    wait_for,
)
from triplane import settings
from triplane.core import process
from triplane.core.approval import Decision
from triplane.terraform.operators import (
    TerraformApplyOperator,
    TerraformDestroyOperator,
    TerraformPlanOperator,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH"),
]


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
    thread = in_background(lab, lambda: lab.apply(first, "slow"))
    try:
        wait_for(lambda: locked(lab, "slow"))
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
    thread = in_background(lab, lambda: operator.execute(lab.context()), failed)
    wait_for(lambda: applying(lab, "slow"))
    operator.on_kill()
    thread.join(30)
    assert isinstance(failed[0], AirflowFailException)
    _freed_and_saved(lab)
    with pytest.raises(AirflowFailException, match="earlier try of this apply was cut off"):
        lab.apply(change, "slow")


def test_timeout_saves_the_state_and_frees_the_lock(lab: Lab) -> None:
    lab.stack("slow", SLOW)
    change = lab.plan("slow")
    with pytest.raises(AirflowFailException, match="was stopped after its limit of 6 s"):
        lab.apply(change, "slow", command_timeout=6)
    _freed_and_saved(lab)


def test_airflows_own_timeout_saves_the_state_and_the_retry_knows(lab: Lab) -> None:
    """As the task runner does it: an alarm in the middle of ``execute``, then ``on_kill``."""
    lab.stack("slow", SLOW)
    change = lab.plan("slow")
    operator = TerraformApplyOperator(**lab.kwargs("slow", change=change))
    with pytest.raises(AirflowTaskTimeout), timeout(8):
        operator.execute(lab.context())
    operator.on_kill()
    _freed_and_saved(lab)
    with pytest.raises(AirflowFailException, match="earlier try of this apply was cut off"):
        lab.apply(change, "slow")


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
    wait_for(lambda: applying(lab, "slow"))
    task.send_signal(signal.SIGKILL)
    task.wait()
    wait_for(lambda: not locked(lab, "slow"))
    _freed_and_saved(lab)
    with pytest.raises(AirflowFailException, match="earlier try of this apply was cut off"):
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


def test_only_a_signed_approval_of_this_change_set_is_applied(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "k" * 40
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", key)
    change = lab.plan()
    digest = settings.put_change_set(change_set(change))
    decision = decide(digest, run="run1").sign([key])

    def apply(*decisions: Decision) -> dict[str, Any]:
        authorization = {"decisions": [item.to_json() for item in decisions]}
        more = {"change_set": digest, "authorization": json.dumps(authorization), "change": None}
        return TerraformApplyOperator(**lab.kwargs(**more)).execute(lab.context())

    with pytest.raises(AirflowFailException, match="is not approved: 1 needed, 0 found"):
        apply()
    with pytest.raises(AirflowFailException, match="signature is not from a worker"):
        apply(replace(decision, responder="mallory"))
    with pytest.raises(AirflowFailException, match="was given to run run2"):
        apply(decide(digest, run="run2").sign([key]))
    assert not lab.state.exists()
    assert apply(decision)["state"] == "deployed"


def test_destroy(lab: Lab) -> None:
    lab.apply(lab.plan())
    change = lab.plan(intent="destroy")
    assert (change["action"], change["risk"], change["summary"]) == ("destroy", "critical", "2 to destroy")
    with pytest.raises(AirflowFailException, match="variables differs"):
        lab.apply(change)
    destroy = TerraformDestroyOperator(**lab.kwargs(change=change))
    assert destroy.execute(lab.context())["state"] == "destroyed"
    assert json.loads(lab.state.read_text())["resources"] == []
    again = lab.plan(intent="destroy")
    assert (again["action"], again["summary"]) == ("none", "the state is empty: there is nothing to destroy")
    again_operator = TerraformDestroyOperator(**lab.kwargs(change=again))
    assert again_operator.execute(lab.context())["state"] == "unchanged"


def test_a_destroy_that_was_cut_off_is_finished_by_its_retry(lab: Lab) -> None:
    lab.stack("slow", SLOW_TO_GO % (lab.home / "go"))
    lab.apply(lab.plan("slow"), "slow")
    change = lab.plan("slow", intent="destroy")
    operator = TerraformDestroyOperator(**lab.kwargs("slow", change=change))
    failed: list[BaseException] = []
    thread = in_background(lab, lambda: operator.execute(lab.context()), failed)
    wait_for(lambda: locked(lab, "slow"))
    wait_for(lambda: (lab.home / "go.begun").exists())
    operator.on_kill()
    thread.join(30)
    assert isinstance(failed[0], AirflowException)
    assert not isinstance(failed[0], AirflowFailException)
    (lab.home / "go").touch()
    retry = TerraformDestroyOperator(**lab.kwargs("slow", change=change))
    assert retry.execute(lab.context())["state"] == "destroyed"


def test_a_destroy_takes_nothing_that_people_did_not_see(lab: Lab) -> None:
    lab.stack("slow", SLOW_TO_GO % (lab.home / "go"))
    lab.apply(lab.plan("slow"), "slow")
    change = lab.plan("slow", intent="destroy")
    hidden = {**change, "lines": [line for line in change["lines"] if "second" not in line]}
    operator = TerraformDestroyOperator(**lab.kwargs("slow", change=hidden))
    failed: list[BaseException] = []
    thread = in_background(lab, lambda: operator.execute(lab.context()), failed)
    wait_for(lambda: (lab.home / "go.begun").exists())
    operator.on_kill()
    thread.join(30)
    (lab.home / "go").touch()
    with pytest.raises(AirflowFailException, match="this needs a new approval"):
        TerraformDestroyOperator(**lab.kwargs("slow", change=hidden)).execute(lab.context())


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
