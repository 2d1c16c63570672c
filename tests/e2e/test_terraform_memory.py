"""What an operator needs beside Terraform: its own memory, measured in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.terraform_lab import CloudLab, Lab
from tests.few import few

LIMIT_MB = 150
PEAK = """
import json, resource, sys
from types import SimpleNamespace
from airflow.sdk import BaseOperator
from airflow.sdk.execution_time import task_runner
given = json.loads(sys.stdin.read())
if given:
    from triplane.terraform.operators import TerraformApplyOperator, TerraformDriftOperator, TerraformPlanOperator
    context = {"dag_run": SimpleNamespace(dag_id="deploy", run_id="run")}
    change = TerraformPlanOperator(**given).execute(context)
    TerraformApplyOperator(**given, change=change).execute(context)
    assert TerraformDriftOperator(**given).execute(context)["state"] == "in_sync"
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
MANY = """
terraform {
  backend "%s" {}
}
resource "terraform_data" "many" {
  count = 500
  input = { name = "resource ${count.index}", text = join(",", range(200)) }
}
"""


def peak_mb(given: dict[str, Any] | None) -> int:
    """The largest resident memory of a process with Airflow's task runner that does this."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK], input=json.dumps(given), capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split("peak ")[-1])


@pytest.mark.parametrize("backend", few(["s3", "gcs", "azurerm"], ["s3"]))
def test_an_operator_is_small(lab: Lab, cloud_env: dict[str, str], backend: str) -> None:
    cloud = CloudLab(lab.home / "cloud", backend)
    cloud.stack("many", MANY % backend)
    assert peak_mb(cloud.kwargs("many")) - peak_mb(None) < LIMIT_MB
