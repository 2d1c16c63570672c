"""One Terraform stack with its own artifact store and ledger, driven as Airflow drives its tasks."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.chaos.harness import BACKENDS, CONNECTIONS
from triplane import settings
from triplane.core.approval import Decision, Policy
from triplane.core.change import ChangeSet, ComponentChange
from triplane.terraform.operators import (
    TerraformApplyOperator,
    TerraformDestroyOperator,
    TerraformDriftOperator,
    TerraformPlanOperator,
)
from triplane.terraform.stack import Stack

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

SLOW_TO_GO = """
terraform {
  backend "local" {}
}
resource "terraform_data" "first" {
  input = terraform_data.second.id
}
resource "terraform_data" "second" {
  input = "%s"
  provisioner "local-exec" {
    when    = destroy
    command = "touch ${self.input}.begun; test -e ${self.input} || sleep 60"
  }
}
"""
"""Its ``second`` resists being destroyed until a file exists."""

UPSTREAM_READER = """
terraform {
  backend "local" {}
}
variable "network" { type = string }
resource "terraform_data" "cluster" { input = var.network }
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

    def destroy(self, change: dict[str, Any], name: str = "network") -> dict[str, Any]:
        return TerraformDestroyOperator(**self.kwargs(name, change=change)).execute(self.context())

    def drift(self, name: str = "network", **more: Any) -> dict[str, Any]:
        return TerraformDriftOperator(**self.kwargs(name, **more)).execute(self.context())

    def serial(self, name: str = "network") -> int:
        return int(json.loads(self.state.with_name(f"{name}.tfstate").read_text())["serial"])

    def kinds(self) -> list[str]:
        return [entry.kind.removeprefix("terraform.") for entry in settings.ledger("staging/aws").entries()]


class CloudLab(Lab):
    """A lab whose state is in a cloud: ``s3``, ``s3_dynamodb``, ``gcs`` or ``azurerm``."""

    def __init__(self, home: Path, backend: str) -> None:
        self.spec = BACKENDS[backend]
        self.key = f"{uuid.uuid4().hex}/network.tfstate"
        super().__init__(home)
        self.stack("network", SIMPLE.replace('"local"', f'"{self.spec["type"]}"'))

    def kwargs(self, name: str = "network", **more: Any) -> dict[str, Any]:
        conn_id, options = CONNECTIONS[self.spec["cloud"]]
        cloud = {"cloud": self.spec["cloud"], "cloud_conn_id": conn_id, "cloud_options": options}
        return super().kwargs(name, **{"backend": {**self.spec["backend"], "key": self.key}, **cloud, **more})

    @contextmanager
    def opened(self) -> Iterator[Stack]:
        operator = TerraformPlanOperator(**self.kwargs())
        with operator.opened(operator.stack_source(), {}) as stack:
            yield stack

    def lock(self) -> str | None:
        with self.opened() as stack:
            lock = stack.terraform.lock()
        return lock and lock.id


def change_set(change: dict[str, Any]) -> ChangeSet:
    return ChangeSet(
        platform="p",
        environment="staging",
        cloud="aws",
        asked="main",
        revision="r",
        planned_at=datetime.now(UTC).isoformat(),
        source="s",
        spec="s",
        policy=Policy().to_json(),
        changes=(ComponentChange.from_json(change),),
    )


def decide(change_set: str, run: str) -> Decision:
    return Decision(
        dag_id="deploy_aws",
        run_id=run,
        vote=0,
        requester="alice",
        responder="bob",
        approved=True,
        reason="as planned",
        change_sets={"aws": change_set},
        decided_at="2026-01-01T00:00:00+00:00",
        expires_at="2999-01-01T00:00:00+00:00",
    )


def in_background(
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


def locked(lab: Lab, name: str) -> bool:
    """Something holds the state's lock."""
    return lab.state.with_name(f".{name}.tfstate.lock.info").exists()


def applying(lab: Lab, name: str) -> bool:
    """Applying, and far enough that the state has the first resource: the second one is being made."""
    state = lab.state.with_name(f"{name}.tfstate")
    return locked(lab, name) and state.exists() and '"first"' in state.read_text()


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
