"""An apply that turns out to be more than was approved, or was cut off: asked about, approved, applied."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tests.e2e.terraform_lab import (
    SLOW,
    UPSTREAM_READER,
    Lab,
    applying,
    change_set,
    decide,
    wait_for,
)
from triplane import settings
from triplane.core.change import Risk
from triplane.terraform.operators import TerraformApplyOperator, TerraformApplyOrAskOperator

KEY = "k" * 40
REPLACED = UPSTREAM_READER.replace(
    "{ input = var.network }", "{\n  input            = var.network\n  triggers_replace = var.network\n}"
)


class Instance:
    """The XComs of one task."""

    def __init__(self) -> None:
        self.xcom: dict[str, Any] = {}

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.xcom[key] = value


@pytest.fixture
def asking(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", KEY)
    return lab


def approve(lab: Lab, change_set: str) -> dict[str, Any]:
    decision = decide(change_set, run=lab.run).sign([KEY])
    return {"change_set": change_set, "authorization": {"decisions": [decision.to_json()]}}


def ask(lab: Lab, name: str, approved: dict[str, Any], **more: Any) -> tuple[list[Any], dict[str, Any]]:
    instance = Instance()
    operator = TerraformApplyOrAskOperator(**lab.kwargs(name, **approved, **more))
    questions = operator.execute({**lab.context(), "task_instance": instance})
    return questions, instance.xcom


def again(lab: Lab, name: str, change_set: str, **more: Any) -> dict[str, Any]:
    return TerraformApplyOperator(**lab.kwargs(name, **approve(lab, change_set), **more)).execute(
        lab.context()
    )


def test_a_deferred_stack_above_its_ceiling_is_asked_about_and_then_applied(asking: Lab) -> None:
    asking.stack("cluster", REPLACED)
    variables = {"network": "${network.size}"}
    asking.apply(asking.plan())
    asking.apply(asking.plan("cluster", variables=variables), "cluster", variables=variables)
    network = asking.plan(variables={"size": "large"})
    cluster = asking.plan("cluster", variables=variables, after={"network": network})
    approved = approve(asking, settings.put_change_set(change_set(cluster)))
    asking.apply(network, variables={"size": "large"})
    before = asking.serial("cluster")

    questions, xcom = ask(asking, "cluster", approved, variables=variables)
    digest = xcom["change_set"]
    assert questions == [{"vote": 0, "votes": 1, "change_sets": {"aws": digest}}]
    assert xcom["result"]["state"] == "held"
    assert asking.serial("cluster") == before
    held = settings.get_change_set(digest).changes
    assert [change.risk for change in held] == [Risk.HIGH]
    assert "more than the medium that was approved" in held[0].lines[0]

    old = {**asking.kwargs("cluster", **approved, variables=variables), "change_set": digest}
    with pytest.raises(AirflowFailException, match="not for"):
        TerraformApplyOperator(**old).execute(asking.context())
    assert again(asking, "cluster", digest, variables=variables)["state"] == "deployed"
    assert asking.serial("cluster") > before

    questions, xcom = ask(asking, "cluster", approved, variables=variables)
    assert questions == [], "cleared after all is done: nothing to ask, nothing to do"
    assert xcom["result"]["state"] != "held"


def test_a_change_within_what_was_approved_is_not_asked_about(asking: Lab) -> None:
    asking.stack("cluster", UPSTREAM_READER)
    variables = {"network": "${network.size}"}
    network = asking.plan()
    cluster = asking.plan("cluster", variables=variables, after={"network": network})
    approved = approve(asking, settings.put_change_set(change_set(cluster)))
    asking.apply(network)
    questions, xcom = ask(asking, "cluster", approved, variables=variables)
    assert (questions, xcom["result"]["state"]) == ([], "deployed")


def test_what_a_killed_apply_left_to_do_is_asked_about(asking: Lab) -> None:
    asking.stack("slow", SLOW)
    approved = approve(asking, settings.put_change_set(change_set(asking.plan("slow"))))
    kill_during_apply(asking, approved)

    questions, xcom = ask(asking, "slow", approved)
    assert len(questions) == 1
    held = settings.get_change_set(xcom["change_set"]).changes[0]
    assert held.lines[0].startswith("! an earlier try of this apply was cut off")
    assert "first" not in held.summary
    assert asking.kinds()[-3:] == ["failed", "held", "change_set"]


def test_an_apply_that_changed_nothing_is_done_again_under_its_approval(asking: Lab, tmp_path: Path) -> None:
    """Terraform writes the state anew, although it began nothing: its saved plan is stale, and what it does is not."""
    down = tmp_path / "down"
    asking.stack("network", FIRST)
    asking.apply(asking.plan())
    asking.stack("network", FIRST + LATE.replace("DOWN", str(down)))
    approved = approve(asking, settings.put_change_set(change_set(asking.plan())))
    down.touch()
    with pytest.raises(AirflowException, match="the cloud is down"):
        ask(asking, "network", approved)
    assert asking.kinds()[-1] == "failed"
    down.unlink()
    questions, xcom = ask(asking, "network", approved)
    assert (questions, xcom["result"]["state"]) == ([], "deployed")


def test_what_is_left_of_an_apply_that_did_a_part_is_no_longer_what_was_approved(
    asking: Lab, tmp_path: Path
) -> None:
    down = tmp_path / "down"
    asking.stack("network", FIRST)
    asking.apply(asking.plan())
    second = 'resource "terraform_data" "second" {}\n' + LATE.replace("DOWN", str(down))
    second = second.replace("lifecycle {", "depends_on = [terraform_data.second]\n  lifecycle {")
    asking.stack("network", FIRST + second)
    approved = approve(asking, settings.put_change_set(change_set(asking.plan())))
    down.touch()
    with pytest.raises(AirflowException, match="the cloud is down"):
        ask(asking, "network", approved)
    down.unlink()
    questions, _ = ask(asking, "network", approved)
    assert len(questions) == 1


FIRST = """
terraform {
  backend "local" {}
}
variable "environment" { default = "x" }
resource "terraform_data" "first" {}
"""
LATE = """resource "terraform_data" "late" {
  lifecycle {
    precondition {
      condition     = timestamp() == var.environment ? true : !fileexists("DOWN")
      error_message = "the cloud is down"
    }
  }
}
"""


def kill_during_apply(lab: Lab, approved: dict[str, Any]) -> None:
    script = (
        "import json, sys\nfrom types import SimpleNamespace\n"
        "from triplane.terraform.operators import TerraformApplyOrAskOperator\n"
        "run = SimpleNamespace(dag_id='deploy_aws', run_id='run1')\n"
        "TerraformApplyOrAskOperator(**json.load(sys.stdin)).execute({'dag_run': run})\n"
    )
    task = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    assert task.stdin is not None
    task.stdin.write(json.dumps(lab.kwargs("slow", **approved)).encode())
    task.stdin.close()
    wait_for(lambda: applying(lab, "slow"))
    task.send_signal(signal.SIGKILL)
    task.wait()
