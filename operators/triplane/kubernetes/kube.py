"""kubectl, driven through its command line: what is applied goes in on standard input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from triplane.core.errors import InputError, ToolError
from triplane.core.jobs import Job
from triplane.core.process import Command, Completed, left_over, run
from triplane.core.redact import Redactor
from triplane.kubernetes.kubectl import kubectl_env
from triplane.kubernetes.objects import CLUSTER_KINDS, Id, Object

MANAGER = "triplane"
NO_KIND = "no matches for kind"
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")


def apply_args(manager: str, *, dry_run: bool = False, parts: bool = False) -> tuple[str, ...]:
    """``kubectl apply`` on the server's side. Fields of others that we set become ours: people saw it.

    ``parts``: only some fields of objects that are there, which kubectl's own validation would not let pass.
    """
    dry = ("--dry-run=server", "--output", "json") if dry_run else ()
    dry = ("--validate=false", *dry) if parts else dry
    return (
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager",
        manager,
        *dry,
        "--filename",
        "-",
    )


def delete_args(timeout: int) -> tuple[str, ...]:
    """``kubectl delete``, of what is gone already too."""
    return ("delete", "--ignore-not-found", "--wait", f"--timeout={timeout}s", "--filename", "-")


@dataclass(frozen=True)
class Kubectl:
    """The ``kubectl`` binary, talking to one cluster. As ``job`` what it changes is found by a retry."""

    kubeconfig: Path
    binary: str = "kubectl"
    say: Callable[[str], None] | None = None
    redact: Callable[[str], str] = field(default_factory=Redactor)
    job: Job | None = None

    def settle(self) -> None:
        """Wait for the kubectl that a killed try of this task left at work."""
        if self.job is not None:
            left_over(self.job, on_line=self.say, redact=self.redact)

    def kustomize(self, folder: Path) -> str:
        """The objects of a kustomize folder, as YAML."""
        return self._run(("kustomize", str(folder))).stdout

    def get(self, items: Iterable[Object]) -> dict[tuple[str, str, str, str], Object]:
        """The live ones among ``items``, by their keys; of kinds that the cluster does not know there are none."""
        asked = [Id.of(item).stub() for item in items]
        if not asked:
            return {}
        args = ("get", "--ignore-not-found", "--show-managed-fields", "--output", "json", "--filename", "-")
        done = self._run(args, stdin=asked, ok=frozenset({0, 1}))
        problems = [line for line in done.stderr.splitlines() if line.strip() and not _harmless(line)]
        if done.returncode and problems:
            raise ToolError(done.argv, done.returncode, "\n".join(problems))
        return {Id.of(item).key: item for item in _items(done.stdout)}

    def dry_run(self, items: Sequence[Object], manager: str = MANAGER) -> list[Object]:
        """What the server would make of ``items``. :raises ToolError: it would refuse one"""
        if not items:
            return []
        return _items(self._run(apply_args(manager, dry_run=True), stdin=items).stdout)

    def apply(self, items: Sequence[Object], manager: str = MANAGER, *, parts: bool = False) -> None:
        """Apply ``items`` under our field manager. :raises ToolError: the server refused one"""
        if items:
            self._run(apply_args(manager, parts=parts), stdin=items, change=True, timeout=600)

    def delete(self, ids: Sequence[Id], timeout: int) -> None:
        """Delete, and wait until they are gone."""
        if ids:
            self._run(
                delete_args(timeout), stdin=[item.stub() for item in ids], change=True, timeout=timeout + 60
            )

    def has_namespace(self, name: str) -> bool:
        """Whether there is such a namespace."""
        args = ("get", "namespace", name, "--ignore-not-found", "--output", "name")
        return bool(self._run(args).stdout.strip())

    def make_namespace(self, name: str) -> None:
        """Create the namespace unless it is there."""
        try:
            self._run(("create", "namespace", name), change=True)
        except ToolError as error:
            if "AlreadyExists" not in error.stderr:
                raise

    def await_crds(self, names: Sequence[str]) -> None:
        """Wait until custom resource definitions are served."""
        if names:
            crds = [f"customresourcedefinition/{name}" for name in names]
            self._run(("wait", "--for=condition=established", "--timeout=60s", *crds), timeout=90)

    def cluster_kinds(self) -> frozenset[str]:
        """Kinds that have no namespace, custom ones among them."""
        text = self._run(("api-resources", "--namespaced=false", "--no-headers")).stdout
        return CLUSTER_KINDS | {line.split()[-1] for line in text.splitlines() if line.strip()}

    def autoscaling(self) -> str:
        """The newest API version for autoscalers by any metric: ``autoscaling/v2`` or ``autoscaling/v2beta2``."""
        answer = json.loads(self._run(("get", "--raw", "/apis/autoscaling")).stdout)
        known = {item["version"] for item in answer["versions"]}
        for version in ("v2", "v2beta2"):
            if version in known:
                return f"autoscaling/{version}"
        raise InputError("the cluster knows neither autoscaling/v2 nor v2beta2; it is older than 1.12")

    def list(self, kind: str, namespace: str) -> list[Object]:
        """All objects of a kind in a namespace; ``kind`` may be several, with commas."""
        args = ("get", kind, "--namespace", namespace, "--output", "json")
        return _items(self._run(args).stdout)

    def _run(
        self,
        args: Sequence[str],
        *,
        stdin: Sequence[Object] | None = None,
        change: bool = False,
        ok: frozenset[int] = frozenset({0}),
        timeout: float = 120,
    ) -> Completed:
        body = None
        if stdin is not None:
            body = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(stdin)}).encode()
        env = kubectl_env(self.kubeconfig)
        command = Command(argv=(self.binary, *args), env=env, stdin=body, ok=ok)
        if not change or self.job is None:
            say = self.say if change else None
            return run(command, redact=self.redact, timeout=timeout, on_line=say)
        done = run(command, redact=self.redact, timeout=timeout, on_line=self.say, job=self.job)
        self.job.forget()
        return done


def _items(text: str) -> list[Object]:
    if not text.strip():
        return []
    answer = json.loads(text)
    return list(answer["items"]) if answer["kind"] == "List" else [answer]


def _harmless(line: str) -> bool:
    return NO_KIND in line or line.startswith("Warning:") or "ensure CRDs are installed first" in line
