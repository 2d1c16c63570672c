"""Drift of real stacks: one by one, and many in one task."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tests.e2e.terraform_lab import (
    SIMPLE,
    Lab,
)
from triplane.terraform.operators import TerraformDriftBatchOperator, TerraformDriftOperator

WAITING = """
terraform {
  backend "local" {
  }
}
resource "terraform_data" "x" {
  input = "%s"
}
"""


def check(lab: Lab, name: str = "network", **more: Any) -> dict[str, Any]:
    return TerraformDriftOperator(**lab.kwargs(name, **more)).execute(lab.context())


def batch(lab: Lab, *names: str, **more: Any) -> TerraformDriftBatchOperator:
    stacks = [{k: v for k, v in lab.kwargs(name).items() if k != "task_id"} for name in names]
    return TerraformDriftBatchOperator(task_id="aws.stacks", components=stacks, **more)


def test_one_stack_is_never_in_sync_when_it_could_not_look(lab: Lab) -> None:
    assert check(lab)["state"] == "pending", "never applied"
    lab.apply(lab.plan())
    assert check(lab)["state"] == "in_sync"
    lab.stack("network", SIMPLE.replace('default = "small"', 'default = "large"'))
    assert (check(lab)["state"], check(lab)["pending"]) == ("pending", "1 to change")
    lab.stack("network", SIMPLE + "broken")
    with pytest.raises(AirflowException):
        check(lab)


def test_a_stack_that_cannot_be_checked_does_not_keep_others_from_their_answer(lab: Lab) -> None:
    for name in ("a", "b", "broken"):
        lab.stack(name, WAITING % name)
        lab.apply(lab.plan(name), name)
    first = batch(lab, "a", "b", "broken").execute(lab.context())
    assert [item["state"] for item in first] == ["in_sync"] * 3
    lab.stack("broken", (WAITING % "broken") + "oops")
    lab.stack("b", WAITING % "changed")
    found = {
        item["address"]: item for item in batch(lab, "a", "b", "broken", "missing").execute(lab.context())
    }
    assert found["aws/stack/a"]["state"] == "in_sync"
    assert found["aws/stack/b"]["pending"] == "1 to change"
    broken = found["aws/stack/broken"]
    assert broken["state"] == "unknown"
    assert "main.tf:" in broken["error"]
    assert broken["last_good"] == first[2]["checked_at"]
    assert found["aws/stack/missing"]["state"] == "unknown"
    assert "is not a folder" in found["aws/stack/missing"]["error"]


def test_a_connection_that_is_missing_costs_its_own_stack_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.apply(lab.plan())
    operator = batch(lab, "network", "network")
    operator.components[1].update(  # type: ignore[attr-defined]
        address="aws/stack/elsewhere",
        cloud="aws",
        cloud_conn_id="no_such",
        cloud_options={"region": "eu-west-1"},
    )
    good, bad = operator.execute(lab.context())
    assert (good["state"], bad["state"]) == ("in_sync", "unknown")
    assert "no_such" in bad["error"]


def test_cancelling_a_batch_begins_nothing_more(lab: Lab, tmp_path: Path) -> None:
    names = [f"s{index}" for index in range(12)]
    for name in names:
        lab.stack(name, WAITING % name)
    operator = batch(lab, *names, workers=1)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            operator.execute(lab.context())
        except AirflowFailException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(1)
    operator.on_kill()
    thread.join(30)
    assert "stopped before everything was checked" in str(failed[0])
