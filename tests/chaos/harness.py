"""Kills applies at random moments and acts as Airflow and as the people who approve would.

An apply of 30 slow resources runs in a task process of its own, forked as Airflow forks its tasks. At a random
moment the task, its guardian, Terraform, or all of them get SIGKILL. Then the task is retried, what it holds
back is approved, new runs are started, until the stack is as wanted; and everything is counted.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import triplane
from triplane.core.approval import Decision, Policy
from triplane.core.change import ChangeSet, ComponentChange

RESOURCES = 30
SLOW_SECONDS = 0.25
TRIES = 3
RUNS = 6
VICTIMS = ("task", "guardian", "terraform", "all")
KEY = "k" * 40
HCL = """
terraform {
  backend "%s" {
  }
  required_providers {
    slow = {
      source = "hashicorp/slow"
    }
  }
}
resource "slow_thing" "x" {
  count = %d
  name  = "x-${count.index}"
}
"""
BACKENDS: dict[str, dict[str, Any]] = {
    "local": {"type": "local"},
    "s3": {"type": "s3", "cloud": "aws", "backend": {"bucket": "streaming-tfstate"}},
    "s3_dynamodb": {
        "type": "s3",
        "cloud": "aws",
        "backend": {"bucket": "streaming-tfstate", "lock_table": "streaming-tflock"},
    },
    "gcs": {"type": "gcs", "cloud": "gcp", "backend": {"bucket": "streaming-tfstate"}},
    "azurerm": {
        "type": "azurerm",
        "cloud": "azure",
        "backend": {
            "resource_group": "streaming",
            "storage_account": "streamingtfstate",
            "container": "tfstate",
        },
    },
}
CONNECTIONS = {
    "aws": ("aws_default", {"region": "eu-west-1"}),
    "gcp": ("google_cloud_default", {}),
    "azure": ("azure_default", {}),
}
_UNSURE = re.compile(r"^! (\S+) (?:was being created|exists already \(id)")
_LEASE = re.compile(
    r"az storage blob lease break --account-name (\S+) --container-name (\S+) --blob-name ([^\s;]+)"
)
_LOCK = re.compile(r"locked by \S+ \(\w+\) since .*lock id (\S+?)[\s,;.]")


@contextmanager
def slow_cloud(python: Path) -> Iterator[Path]:
    """The slow cloud's folder, with its provider running."""
    with tempfile.TemporaryDirectory(prefix="triplane-slow-") as directory:
        folder, sources = Path(directory) / "cloud", Path(directory) / "python"
        sources.mkdir()
        (sources / "triplane").symlink_to(Path(triplane.__file__).parent)
        script = Path(__file__).with_name("slow_provider.py")
        argv = [str(python), "-I", str(script), str(sources), str(folder), str(SLOW_SECONDS)]
        environ = {**os.environ, "TMPDIR": directory}
        server = subprocess.Popen(argv, start_new_session=True, env=environ)
        try:
            _until(lambda: (folder / "reattach").exists(), 30)
            yield folder
        finally:
            server.kill()
            server.wait()


@dataclass
class Verdict:
    """What one kill led to. ``bad`` says what must not be; ``hit``: the kill reached a running apply. ``explained``
    counts locks that people had to free.
    """

    victim: str
    moment: float
    bad: list[str] = field(default_factory=list)
    hit: bool = True
    explained: int = 0
    asked: int = 0
    path: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """How a task process ended: ``killed``, ``retry``, ``failed`` or ``done``, with what it left."""

    kind: str
    text: str = ""
    change_set: str | None = None


class Trial:
    """One stack with a state and a cloud of its own, and one kill."""

    def __init__(self, home: Path, cloud: Path, backend: str, chance: random.Random) -> None:
        self.home = home
        self.cloud = cloud
        self.chance = chance
        self.run = 1
        self.applying = 0.0
        self.hit = False
        self.lineages: set[str] = set()
        self.id = uuid.uuid4().hex[:12]
        self.spec = BACKENDS[backend]
        self.policy = chance.choice((Policy(), Policy(votes={"low": 0, "medium": 0})))
        folder = home / "infra" / "slow"
        folder.mkdir(parents=True)
        (folder / "main.tf").write_text(HCL % (self.spec["type"], RESOURCES))

    def go(self, victim: str, moment: float) -> Verdict:
        """Apply, kill ``victim`` after ``moment`` seconds, recover, and judge."""
        verdict = Verdict(victim, moment)
        change_set = self.approve(self.plan(verdict))
        first = True
        for _ in range(RUNS * TRIES):
            kill = (victim, moment) if first and victim in VICTIMS else None
            outcome = self.apply(change_set, kill)
            verdict.hit = verdict.hit and (kill is None or self.hit)
            first = False
            verdict.path.append(f"{outcome.kind} {outcome.text[:200]}".strip())
            if outcome.kind == "done":
                break
            if outcome.kind == "held":
                verdict.asked += 1
                change_set = str(outcome.change_set)
                self.resolve(change_set)
            elif outcome.kind == "failed":
                self.free_explained_lock(outcome.text, verdict)
                self.run += 1
                change_set = self.approve(self.plan(verdict))
                self.resolve(change_set)
            elif outcome.kind == "retry":
                self.free_explained_lock(outcome.text, verdict)
        else:
            verdict.bad.append("never finished")
        self.judge(verdict)
        return verdict

    def plan(self, verdict: Verdict) -> dict[str, Any]:
        from triplane.terraform.operators import TerraformPlanOperator

        for _ in range(TRIES):
            try:
                return TerraformPlanOperator(**self.kwargs()).execute(self.context())
            except Exception as error:
                verdict.path.append("plan failed")
                self.free_explained_lock(str(error), verdict)
        raise AssertionError(f"cannot plan: {verdict}")

    def apply(self, change_set: str, kill: tuple[str, float] | None) -> Outcome:
        """The apply task in a process of its own."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            self._task(change_set, write)
        os.close(write)
        if kill is not None:
            self.hit = _kill(child, *kill)
        else:
            self.applying = _applying_seconds(child)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        return Outcome(**json.loads(said)) if said else Outcome("killed")

    def _task(self, change_set: str, write: int) -> None:
        from airflow.sdk.exceptions import AirflowFailException

        from triplane.terraform.operators import TerraformApplyOrAskOperator

        xcom: dict[str, Any] = {}
        instance = SimpleNamespace(xcom_push=lambda key, value: xcom.__setitem__(key, value))
        try:
            operator = TerraformApplyOrAskOperator(**self.kwargs(**self._approval(change_set)))
            questions = operator.execute({**self.context(), "task_instance": instance})  # type: ignore[typeddict-item]
            kind = "held" if questions else "done"
            outcome = {"kind": kind, "change_set": xcom.get("change_set")}
        except AirflowFailException as error:
            outcome = {"kind": "failed", "text": str(error)}
        except BaseException as error:
            outcome = {"kind": "retry", "text": f"{type(error).__name__}: {error}"}
        os.write(write, json.dumps(outcome).encode())
        os._exit(0)

    def approve(self, change: dict[str, Any]) -> str:
        from triplane import settings

        change_set = ChangeSet(
            platform="p",
            environment=self.id,
            cloud="aws",
            asked="main",
            revision="r",
            planned_at=datetime.now(UTC).isoformat(),
            source="s",
            spec="s",
            policy=self.policy.to_json(),
            changes=(ComponentChange.from_json(change),),
        )
        return settings.put_change_set(change_set)

    def _approval(self, change_set: str) -> dict[str, Any]:
        decision = Decision(
            dag_id="deploy_aws",
            run_id=f"{self.id}-{self.run}",
            vote=0,
            requester="alice",
            responder="bob",
            approved=True,
            reason="as planned",
            change_sets={"aws": change_set},
            decided_at="2026-01-01T00:00:00+00:00",
            expires_at="2999-01-01T00:00:00+00:00",
        )
        return {"change_set": change_set, "authorization": {"decisions": [decision.sign([KEY]).to_json()]}}

    def resolve(self, change_set: str) -> None:
        """As people who read the change set: remove what may exist already and is in no state."""
        from triplane import settings

        (change,) = settings.get_change_set(change_set).changes
        unsure = {found[1] for line in change.lines if (found := _UNSURE.match(line))}
        if any("machine that is gone" in line for line in change.lines):
            unsure = {f"slow_thing.x[{index}]" for index in range(RESOURCES)}
        if not unsure:
            return
        time.sleep(2 * SLOW_SECONDS)
        known = set(self.state_ids().values())
        imported = {line.rpartition("import ")[2] for line in change.lines if line.startswith("&")}
        names = {f"x-{address.partition('[')[2].rstrip(']')}" for address in unsure}
        for path in (self.cloud / "objects").iterdir():
            if self.mine(path) in names and path.name not in known and path.name not in imported:
                self.forget(path)

    def free_explained_lock(self, text: str, verdict: Verdict) -> None:
        """As people who read who holds the lock since when, and know that this process is dead."""
        if found := _LOCK.search(text):
            verdict.explained += 1
            if self.applies():
                verdict.bad.append("told to free a lock whose Terraform still runs")
            with self.opened() as stack:
                stack.terraform.force_unlock(found[1])
        elif found := _LEASE.search(text):
            verdict.explained += 1
            if self.applies():
                verdict.bad.append("told to break a lease whose Terraform still runs")
            state_lease(*found.groups()).break_lease(0)
        elif "acquiring the state lock" in text:
            verdict.bad.append(f"a lock nobody can explain: {text[:300]}")

    def applies(self) -> bool:
        """Whether an apply against this cloud still runs."""
        marked = str(self.cloud.parent.name).encode()
        for pid in _terraform_apply(1):
            with suppress(OSError):  # it has ended meanwhile
                if marked in Path(f"/proc/{pid}/environ").read_bytes():
                    return True
        return False

    def judge(self, verdict: Verdict) -> None:
        """Everything once, all of it in the state, and the state free."""
        names = Counter(name for path in (self.cloud / "objects").iterdir() if (name := self.mine(path)))
        expected = {f"x-{index}" for index in range(RESOURCES)}
        if twice := self.twice():
            verdict.bad.append(f"created twice: {twice}")
        if odd := {name: count for name, count in names.items() if count > 1}:
            verdict.bad.append(f"more than one: {odd}")
        if missing := sorted(expected - set(names)):
            verdict.bad.append(f"not created: {missing}")
        ids = self.state_ids()
        if len(ids) != RESOURCES:
            verdict.bad.append(f"{len(ids)} resources in the state")
        wrong = [
            address
            for address, found in ids.items()
            if self.mine(self.cloud / "objects" / found) != f"x-{address.partition('[')[2].rstrip(']')}"
        ]
        if wrong:
            verdict.bad.append(f"in the state, but not there or another: {wrong}")
        if len(self.lineages) != 1:
            verdict.bad.append(f"lineages of the state: {self.lineages}")
        with self.opened() as stack:
            argv = (
                "terraform",
                "plan",
                "-input=false",
                "-lock-timeout=0s",
                "-detailed-exitcode",
                "-no-color",
            )
            last = subprocess.run(
                argv, cwd=stack.directory, env=stack.terraform.complete_env(), capture_output=True, text=True
            )
        if last.returncode != 0:
            verdict.bad.append(f"a plan afterwards: {last.stdout[-500:]}{last.stderr[-500:]}")
        for path in (self.cloud / "objects").iterdir():
            path.unlink()
        (self.cloud / "journal").unlink(missing_ok=True)

    def forget(self, path: Path) -> None:
        """As people who remove a thing by hand."""
        name = self.mine(path)
        path.unlink()
        with (self.cloud / "journal").open("a") as file:
            file.write(f"delete {path.name} {name}\n")

    def twice(self) -> list[str]:
        """Names of which two things were there at the same time, of which people had not been told."""
        there: dict[str, set[str]] = {}
        found = []
        journal = self.cloud / "journal"
        for line in journal.read_text().splitlines() if journal.exists() else ():
            what, thing, name = line.split()
            if what == "delete":
                there.get(name, set()).discard(thing)
                continue
            there.setdefault(name, set()).add(thing)
            if len(there[name]) > 1:
                found.append(name)
        return found

    def mine(self, path: Path) -> str:
        return path.read_text() if path.exists() else ""

    def state_ids(self) -> dict[str, str]:
        """Address -> id."""
        from triplane.core.process import Command, run

        with self.opened() as stack:
            command = Command(
                argv=(*stack.terraform.binary.argv, "state", "pull"),
                env=stack.terraform.complete_env(),
                cwd=stack.directory,
            )
            text = run(command).stdout
        document = json.loads(text) if text.strip() else {}
        self.lineages |= {document["lineage"]} if document.get("resources") else set()
        return {
            f"slow_thing.x[{instance['index_key']}]": instance["attributes"]["id"]
            for resource in document.get("resources", [])
            for instance in resource["instances"]
        }

    @contextmanager
    def opened(self) -> Iterator[Any]:
        from triplane.terraform.operators import TerraformPlanOperator

        operator = TerraformPlanOperator(**self.kwargs())
        with operator.opened(operator.stack_source(), {}) as stack:
            yield replace(stack, terraform=replace(stack.terraform, say=lambda line: None))

    def kwargs(self, **more: Any) -> dict[str, Any]:
        cloud = self.spec.get("cloud")
        conn_id, options = CONNECTIONS.get(cloud, (None, {}))
        where: Mapping[str, Any] = {"path": f"{self.home}/state.tfstate"}
        if cloud:
            where = {**self.spec["backend"], "key": f"chaos/{self.id}/slow.tfstate"}
        return {
            "task_id": "t",
            "path": f"{self.home}/infra//slow",
            "address": "aws/stack/slow",
            "scope": f"{self.id}/aws",
            "backend": where,
            "cloud": cloud,
            "cloud_conn_id": conn_id,
            "cloud_options": options,
            "lock_timeout": 3,
            "stop_grace": 30,
            **more,
        }

    def context(self) -> Any:
        return {"dag_run": SimpleNamespace(dag_id="deploy_aws", run_id=f"{self.id}-{self.run}")}


def _kill(task: int, victim: str, moment: float) -> bool:
    """SIGKILL for the task, its guardian, its Terraform, or all of them, ``moment`` seconds into the apply.

    Returns whether there still was an apply to hit.
    """
    _until(lambda: bool(_terraform_apply(task)) or not _alive(task), 60)
    time.sleep(moment)
    tree = _descendants(task)
    applies = _terraform_apply(task)
    guardians = [pid for pid, argv in tree.items() if b"guardian.py" in argv and b"\0apply\0" in argv]
    found = {"task": [task], "guardian": guardians, "terraform": applies}
    for pid in [*guardians, *applies, task] if victim == "all" else found[victim]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return bool(applies)


def state_lease(account: str, container: str, blob: str) -> Any:
    """The lease of a state's blob, as ``az storage blob lease`` with the account's key."""
    from azure.mgmt.storage import StorageManagementClient
    from azure.storage.blob import BlobLeaseClient, BlobServiceClient

    from triplane.clouds import azure

    group = BACKENDS["azurerm"]["backend"]["resource_group"]
    accounts = azure.client(StorageManagementClient, "azure_default").storage_accounts
    key = accounts.list_keys(group, account).keys_property[0].value
    service = BlobServiceClient(f"https://{account}.blob.core.windows.net", credential=key)
    return BlobLeaseClient(service.get_blob_client(container, blob))


def _applying_seconds(task: int) -> float:
    """How long the task's Terraform applies."""
    _until(lambda: bool(_terraform_apply(task)) or not _alive(task), 60)
    begun = time.monotonic()
    _until(lambda: not _terraform_apply(task), 120)
    return time.monotonic() - begun


def _terraform_apply(task: int) -> list[int]:
    """The processes below ``task`` that are a ``terraform apply``."""
    found = _descendants(task).items()
    return [pid for pid, argv in found if re.match(rb"([^\0]*/)?terraform\0apply\0", argv)]


def _descendants(root: int) -> dict[int, bytes]:
    """Process id -> its command line, of all below ``root``."""
    parents: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    below, queue = {}, [root]
    while queue:
        parent = queue.pop()
        for pid in [pid for pid, found in parents.items() if found == parent]:
            queue.append(pid)
            try:
                below[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
    return below


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)


def campaign(
    backend: str, kills: int, seed: int, cloud: Path, say: Callable[[str], object] = print
) -> list[Verdict]:
    """``kills`` kills that hit an apply on one backend; the moments are spread over the apply's duration."""
    os.environ["TF_REATTACH_PROVIDERS"] = (cloud / "reattach").read_text()
    os.environ["AIRFLOW__TRIPLANE__SIGNING_KEY"] = KEY
    chance = random.Random(seed)
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="triplane-chaos-") as directory:
        os.environ["AIRFLOW__TRIPLANE__ARTIFACT_STORE"] = f"file://{directory}/store"
        calm = Trial(Path(directory) / "calm", cloud, backend, chance)
        calm.go("nobody", 0)
        while sum(verdict.hit for verdict in verdicts) < kills:
            number = len(verdicts)
            trial = Trial(Path(directory) / str(number), cloud, backend, chance)
            victim = VICTIMS[sum(verdict.hit for verdict in verdicts) % len(VICTIMS)]
            verdict = trial.go(victim, chance.uniform(0, 1) * calm.applying)
            verdicts.append(verdict)
            assert verdict.hit or len(verdicts) < 10 * kills, "the kills come too late to hit anything"
            if verdict.bad:
                say(f"{backend} seed {seed} trial {number}: {verdict}\n")
    return verdicts
