"""Locks of the state on every cloud's real backend: waited for, explained, and freed only if they are ours and dead."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from tests.chaos.harness import state_lease
from tests.e2e.terraform_lab import CloudLab, Lab, change_set, decide, in_background, wait_for
from triplane import settings
from triplane.core.approval import Policy
from triplane.core.change import ComponentChange
from triplane.core.jobs import Job
from triplane.terraform.attempt import Attempt
from triplane.terraform.cli import LOCK, LockedError
from triplane.terraform.operators import TerraformApplyOperator, TerraformApplyOrAskOperator

HCL = """
terraform {
  backend "%s" {
  }
}
variable "size" {
  default = "small"
}
resource "terraform_data" "first" {
  input = var.size
}
resource "terraform_data" "slow" {
  depends_on = [terraform_data.first]
  provisioner "local-exec" {
    command = "touch begun; for i in $(seq 600); do [ -e go ] && break; sleep 0.1; done"
    working_dir = "%s"
  }
}
"""
HELD = (
    rf"the state is locked by \S+@{socket.gethostname()} \(OperationTypeApply\) since 20\S+ \S+ \+0000 UTC, "
    r"for \d+ seconds?, lock id (\S+); waited 1 s\. Try again .* terraform force-unlock \1$"
)
FREELY = Policy(votes={"low": 0, "medium": 0})


class LockLab(CloudLab):
    """Its apply stands still until :meth:`go`, with the state locked."""

    def __init__(self, home: Path, backend: str) -> None:
        super().__init__(home, backend)
        self.stack("network", HCL % (self.spec["type"], home))

    def go(self) -> None:
        (self.home / "go").touch()

    def approved(self) -> dict[str, Any]:
        change = self.plan()
        digest = settings.put_change_set(replace(change_set(change), policy=FREELY.to_json()))
        return {"change": change, "change_set": digest, "authorization": {"decisions": []}}

    def task(self, approved: dict[str, Any]) -> dict[str, Any]:
        """One try of the task that applies, and what people are asked after one that was killed; the result."""
        xcom: dict[str, Any] = {}
        instance = SimpleNamespace(xcom_push=lambda key, value: xcom.__setitem__(key, value))
        context: Any = {**self.context(), "task_instance": instance}
        asked = TerraformApplyOrAskOperator(**self.kwargs(**approved)).execute(context)
        result: dict[str, Any] = xcom["result"]
        if asked:
            (change,) = settings.get_change_set(xcom["change_set"]).changes
            assert change.lines[0].startswith("! an earlier try of this apply was cut off")
            decisions = [decide(xcom["change_set"], self.run).sign(["k" * 40]).to_json()]
            more = self.kwargs(change_set=xcom["change_set"], authorization={"decisions": decisions})
            result = TerraformApplyOperator(**more).execute(context)
        return result

    def job(self, approved: dict[str, Any]) -> Job:
        change = ComponentChange.from_json(approved["change"])
        return Attempt.at(change, address=change.address, run="deploy_aws/run1").job()

    @contextmanager
    def applying(self, approved: dict[str, Any]) -> Iterator[multiprocessing.process.BaseProcess]:
        """A task process in the middle of its apply, whose lock is noted."""
        process = multiprocessing.get_context("fork").Process(target=self.task, args=(approved,))
        process.start()
        try:
            wait_for(lambda: (self.home / "begun").exists() or not process.is_alive())
            wait_for(lambda: self.job(approved).noted(LOCK) is not None, 15)
            yield process
        finally:
            self.go()
            process.join(30)

    def cut_off(self, approved: dict[str, Any]) -> str:
        """Kill an apply with all that belongs to it; returns the lock that it leaves."""
        with self.applying(approved) as task:
            job = self.job(approved)
            assert job.pid
            assert task.pid
            guardian = psutil.Process(job.pid).ppid()
            for number in (signal.SIGSTOP, signal.SIGKILL):  # else the others tidy up after the first of them
                for pid in (task.pid, guardian, job.pid):
                    os.kill(pid, number)
            task.join()
        left = self.lock()
        assert left == job.noted(LOCK)
        return str(left)


@contextmanager
def somebody(lab: LockLab) -> Iterator[str]:
    """Somebody else's ``terraform apply``, which asks whether to go on and holds the lock ``id`` until it is answered."""
    said = lab.home / "said"
    with lab.opened() as stack, said.open("w") as output:
        argv = ("terraform", "apply", "-no-color", "-var=size=theirs")
        person = subprocess.Popen(
            argv,
            cwd=stack.directory,
            env=stack.terraform.complete_env(),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
        try:
            wait_for(lambda: "Enter a value" in said.read_text() or person.poll() is not None)
            assert person.poll() is None, said.read_text()
            lock = stack.terraform.lock()
            assert lock is not None
            yield lock.id
            assert stack.terraform.lock() == lock, "somebody else's lock was freed"
            person.communicate(b"no\n", timeout=30)
            assert "releasing the state lock" not in said.read_text()
        finally:
            person.kill()
            person.wait()


@pytest.fixture(params=["s3", "s3_dynamodb", "gcs", "azurerm"])
def cloud(
    request: pytest.FixtureRequest, lab: Lab, cloud_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> LockLab:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", "k" * 40)
    return LockLab(lab.home / "cloud", request.param)


def test_somebody_elses_lock_is_waited_for_then_explained(cloud: LockLab) -> None:
    change = cloud.plan()
    cloud.go()
    deployed: list[dict[str, Any]] = []
    failed: list[BaseException] = []
    with somebody(cloud) as lock:
        for work in (cloud.plan, lambda: cloud.apply(change)):
            with pytest.raises(AirflowException, match=HELD) as refused:
                work()
            assert f"lock id {lock};" in str(refused.value)
            assert isinstance(refused.value.__cause__, LockedError)
            assert not isinstance(refused.value, AirflowFailException), "a retry can help"
        assert cloud.kinds() == ["applying", "not_started"]
        waiting = in_background(cloud, lambda: deployed.append(cloud.apply(change, lock_timeout=60)), failed)
        wait_for(lambda: cloud.kinds()[2:] == ["applying"])
        time.sleep(1)
        assert waiting.is_alive()
    waiting.join(60)
    assert not failed
    assert deployed[0]["state"] == "deployed"
    assert cloud.lock() is None


def test_the_lock_of_a_killed_try_is_freed(cloud: LockLab) -> None:
    approved = cloud.approved()
    cloud.cut_off(approved)
    assert cloud.task(approved)["state"] == "deployed"
    assert [kind for kind in cloud.kinds() if kind != "held"] == [
        *("applying", "failed", "unlocked", "change_set", "applying", "applied")
    ]
    assert cloud.lock() is None
    assert cloud.plan()["action"] == "none"


def test_the_lock_of_somebody_who_came_after_the_kill_is_not_freed(cloud: LockLab) -> None:
    approved = cloud.approved()
    left = cloud.cut_off(approved)
    with cloud.opened() as stack:
        assert stack.terraform.force_unlock(left), "by hand"
    with somebody(cloud) as lock:
        with pytest.raises(AirflowException, match=HELD) as refused:
            cloud.task(approved)
        assert f"lock id {lock};" in str(refused.value)
    assert "unlocked" not in cloud.kinds()
    assert cloud.task(approved)["state"] == "deployed"


def test_the_lock_of_a_try_that_is_alive_is_not_freed(cloud: LockLab) -> None:
    approved = cloud.approved()
    with cloud.applying(approved) as first:
        with pytest.raises(AirflowException, match=HELD) as refused:
            cloud.task(approved)
        assert f"lock id {cloud.job(approved).noted(LOCK)};" in str(refused.value)
        with cloud.opened() as stack:
            assert not stack.terraform.force_unlock("another id")
        assert first.is_alive()
    assert first.exitcode == 0
    assert cloud.kinds() == ["applying", "applied"]
    assert cloud.task(approved)["state"] == "deployed"


@pytest.mark.parametrize("cloud", ["azurerm"], indirect=True)
def test_a_lock_that_was_left_half_made_says_how_it_is_freed(cloud: LockLab) -> None:
    """azurerm leases the blob first and writes who holds it afterwards; a kill between the two leaves no lock id."""
    cloud.go()
    cloud.apply(cloud.plan())
    key = cloud.kwargs()["backend"]["key"]
    lease = state_lease("streamingtfstate", "tfstate", key)
    lease.acquire(-1)
    with pytest.raises(AirflowException, match="was left half made") as refused:
        cloud.plan()
    command = f"az storage blob lease break --account-name streamingtfstate --container-name tfstate --blob-name {key}"
    assert str(refused.value).endswith(command)
    lease.break_lease(0)
    assert cloud.plan()["action"] == "none"
