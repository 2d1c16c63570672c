"""How much Triplane adds to Terraform itself: wall time of ours against bare ``terraform`` in the same run."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography.fernet import Fernet

ROUNDS = 5
LARGE = 2500
SMALL = 250
"""Resources of the stacks. One of the small ones is planned in about 0.2 s; with the clouds' own providers it would
be seconds. Around a plan of nothing at all (0.05 s) the guardian's 0.015 s show: about 1.5 there.
"""
HCL = """
terraform {
  backend "local" {
  }
}
resource "terraform_data" "x" {
  count = %d
  input = "x-${count.index}"
}
"""


def environ(scratch: Path) -> dict[str, str]:
    """An artifact store of its own, and no log lines."""
    return {
        "AIRFLOW__TRIPLANE__ARTIFACT_STORE": f"file://{scratch}/store",
        "AIRFLOW__TRIPLANE__ARTIFACT_KEY": Fernet.generate_key().decode(),
        "TF_CLI_CONFIG_FILE": os.devnull,
        "TF_IN_AUTOMATION": "1",
        "CHECKPOINT_DISABLE": "1",
    }


def warm_plan(scratch: Path) -> float:
    """A plan without changes of a large stack in its warm workspace / ``terraform plan -out`` in the same place."""
    from triplane.terraform.operators import TerraformPlanOperator

    stack = _stack(scratch, "large", LARGE)
    _apply(stack)
    operator = TerraformPlanOperator(**stack)
    with operator.opened(operator.stack_source(), {}) as opened:
        directory = opened.directory
    out = scratch / "bare.tfplan"
    bare = ["terraform", "plan", "-input=false", f"-out={out}", "-no-color"]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_seconds(lambda: TerraformPlanOperator(**stack).execute(_context())))
        theirs.append(_seconds(lambda: _run(bare, directory)))
    return statistics.median(ours) / statistics.median(theirs)


def drift(scratch: Path, count: int) -> tuple[float, float]:
    """Seconds to check ``count`` stacks in one batch, and by ``xargs -P2 terraform plan`` in the same places."""
    from triplane.terraform.operators import TerraformDriftBatchOperator, TerraformPlanOperator

    stacks = [_stack(scratch, f"drift-{count}-{number}", SMALL) for number in range(count)]
    directories = []
    for stack in stacks:
        _apply(stack)
        operator = TerraformPlanOperator(**stack)
        with operator.opened(operator.stack_source(), {}) as opened:
            directories.append(str(opened.directory))
    arguments = [{key: value for key, value in stack.items() if key != "task_id"} for stack in stacks]
    listed = "\n".join(directories).encode()
    bare = [
        "xargs",
        "-P2",
        "-I{}",
        "terraform",
        "-chdir={}",
        "plan",
        "-input=false",
        "-no-color",
        "-out=bare.tfplan",
    ]
    ours, theirs = [], []
    for _ in range(3):
        batch = TerraformDriftBatchOperator(task_id="t", components=arguments, workers=2)
        ours.append(_seconds(lambda batch=batch: batch.execute(_context())))
        theirs.append(
            _seconds(lambda: subprocess.run(bare, input=listed, stdout=subprocess.DEVNULL, check=True))
        )
    return statistics.median(ours), statistics.median(theirs)


def _stack(scratch: Path, name: str, resources: int) -> dict[str, Any]:
    folder = scratch / "infra" / name
    folder.mkdir(parents=True)
    (folder / "main.tf").write_text(HCL % resources)
    return {
        "task_id": "t",
        "path": str(folder),
        "address": f"aws/stack/{name}",
        "scope": "bench/aws",
        "backend": {"path": str(scratch / "state" / f"{name}.tfstate")},
    }


def _apply(stack: dict[str, Any]) -> None:
    from triplane.terraform.operators import TerraformApplyOperator, TerraformPlanOperator

    change = TerraformPlanOperator(**stack).execute(_context())
    TerraformApplyOperator(**stack, change=change).execute(_context())


def _context() -> Any:
    return {"dag_run": SimpleNamespace(dag_id="bench", run_id="run")}


def _run(argv: list[str], directory: Path) -> None:
    subprocess.run(argv, cwd=directory, stdout=subprocess.DEVNULL, check=True)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
