"""Wait for workloads, and say why they do not get ready."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from triplane.core.errors import TerminalError, ToolError
from triplane.core.process import Command, Completed, run
from triplane.core.redact import Redactor
from triplane.kubernetes.kubectl import kubectl_env
from triplane.kubernetes.reasons import Log
from triplane.kubernetes.standing import KINDS, Standing, Workload, standings

READ = (
    "deployments,statefulsets,daemonsets,jobs,replicasets,pods,events,persistentvolumeclaims,resourcequotas"
)
LOG_LINES = 10
SHORTEST, LONGEST = 0.5, 5.0
"""Seconds between two looks: few at first, more later."""


class RolloutError(TerminalError):
    """Workloads did not get ready; the message says why."""


def get_args(namespace: str) -> tuple[str, ...]:
    """``kubectl get`` of all that tells how workloads fare."""
    return ("get", READ, "--namespace", namespace, "--output", "json", "--request-timeout", "30s")


def log_args(log: Log) -> tuple[str, ...]:
    """``kubectl logs``: the last lines of one container."""
    previous = ("--previous",) if log.previous else ()
    where = ("--namespace", log.namespace, "--container", log.container)
    return ("logs", log.pod, *where, *previous, f"--tail={LOG_LINES}", "--request-timeout", "30s")


def workloads(objects: Iterable[Mapping[str, Any]], namespace: str) -> tuple[Workload, ...]:
    """What there is to wait for among ``objects``; ``namespace`` is where those without one go."""
    return tuple(
        Workload(item["kind"], item["metadata"].get("namespace") or namespace, item["metadata"]["name"])
        for item in objects
        if item["kind"] in KINDS
    )


@dataclass(frozen=True)
class Look:
    """All workloads at one moment."""

    standings: tuple[Standing, ...]

    @property
    def done(self) -> bool:
        """All are ready."""
        return all(item.state == "done" for item in self.standings)

    @property
    def failed(self) -> bool:
        """One of them will never be ready."""
        return any(item.state == "failed" for item in self.standings)

    @property
    def explained(self) -> bool:
        """There is a cause for something that is not ready."""
        return any(item.reasons or item.state == "failed" for item in self.standings)

    @property
    def lines(self) -> list[str]:
        """What is not ready, and why, for people."""
        return [line for item in self.standings if item.state != "done" for line in _lines(item)]


@dataclass(kw_only=True)
class Reader:
    """Reads with ``kubectl`` how workloads of one cluster fare."""

    kubeconfig: Path
    binary: str = "kubectl"
    redact: Callable[[str], str] = field(default_factory=Redactor)

    def read(self, namespace: str) -> list[Mapping[str, Any]]:
        """All that tells how workloads of a namespace fare, without what we may not read.

        :raises ToolError: the cluster cannot be read
        """
        done = self.run(get_args(namespace), ok=frozenset({0, 1}))
        if done.returncode and ("(Forbidden)" not in done.stderr or not done.stdout.strip()):
            raise ToolError(done.argv, done.returncode, done.stderr)
        return list(json.loads(done.stdout)["items"])

    def causes(self, look: Look) -> list[str]:
        """A text for each workload that is not ready: its causes, and their last log lines."""
        texts = []
        for item in look.standings:
            if item.state == "done":
                continue
            causes = [f"{reason}{self._log(reason.log)}" for reason in item.reasons]
            texts.append("\n  ".join([f"{item.workload} is not ready: {item.progress}", *causes]))
        return [self.redact(text) for text in texts]

    def run(self, args: tuple[str, ...], ok: frozenset[int] = frozenset({0})) -> Completed:
        """``kubectl`` with ``args``. :raises ToolError:"""
        env = kubectl_env(self.kubeconfig)
        return run(Command(argv=(self.binary, *args), env=env, ok=ok), redact=self.redact, timeout=60)

    def _log(self, log: Log | None) -> str:
        if log is None:
            return ""
        try:
            text = self.run(log_args(log)).stdout
        except ToolError as error:
            return f"\n    (its log cannot be read: {error.stderr.strip()})"
        return "".join(f"\n    | {line}" for line in text.splitlines()[-LOG_LINES:])


@dataclass(kw_only=True)
class Rollout(Reader):
    """A rollout of ``workloads`` in one cluster. ``timeout`` is in seconds from now on."""

    workloads: tuple[Workload, ...]
    timeout: float
    say: Callable[[str], None] = print

    def wait(self, patience: float | None = None) -> bool:
        """Wait until all are ready; False if ``patience`` (seconds) ends first.

        :raises RolloutError: one failed, or ``timeout`` is over
        """
        begin, pause, said = time.monotonic(), SHORTEST, set[str]()
        while True:
            look = self.look()
            lines = set(look.lines)
            for line in sorted(lines - said):
                self.say(f"Waiting for {self.redact(line)}")
            said = lines
            spent = time.monotonic() - begin
            if look.done:
                return True
            if look.failed or spent >= self.timeout:
                raise self.explained(look)
            if patience is not None and spent >= patience:
                return False
            time.sleep(min(pause, max(self.timeout - spent, 0.1)))
            pause = min(pause * 1.5, LONGEST)

    def look(self) -> Look:
        """How all workloads stand now. :raises ToolError: the cluster cannot be read"""
        objects: list[Mapping[str, Any]] = []
        for namespace in sorted({item.namespace for item in self.workloads}):
            objects += self.read(namespace)
        return Look(standings(objects, self.workloads))

    def explained(self, look: Look) -> RolloutError:
        """What to raise for workloads that are not ready: each with its causes and last log lines."""
        end = "failed" if look.failed else f"did not finish in {self.timeout:g} s"
        return RolloutError(f"the rollout {end}: " + "\n".join(self.causes(look)))


def _lines(item: Standing) -> list[str]:
    why = [f"{item.workload}: {replace(reason, more=0)}" for reason in item.reasons]
    return why or [f"{item.workload}: {item.progress}"]
