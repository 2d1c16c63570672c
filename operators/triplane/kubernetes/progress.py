"""Says why workloads of a release are not ready while Helm waits in silence, and keeps that for the error."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

from triplane.core.errors import TriplaneError
from triplane.kubernetes.helm import Release
from triplane.kubernetes.kubectl import RELEASE, WORKLOADS
from triplane.kubernetes.rollout import Look, Reader
from triplane.kubernetes.standing import Object, Workload, standings

SECONDS = 3.0
HOOK = "helm.sh/hook"
INSTANCE = "app.kubernetes.io/instance"
RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"
SKEW = datetime.timedelta(minutes=1)
"""How much the cluster's clock may be behind ours."""


def waited_for(objects: Iterable[Object], release: Release, since: datetime.datetime) -> tuple[Workload, ...]:
    """What Helm waits for among ``objects``: workloads and Jobs of ``release``, and its hooks' Jobs made ``since``."""
    return tuple(
        Workload(item["kind"], item["metadata"]["namespace"], item["metadata"]["name"])
        for item in objects
        if (item["kind"] in (*WORKLOADS, "Job") and _belongs(item, release))
        or (item["kind"] == "Job" and _is_hook(item, release) and _made(item) >= since)
    )


def back_args(release: Release, revision: int) -> tuple[str, ...]:
    """``kubectl get``: names Helm's records, if it has given ``revision`` up and undoes it."""
    mine = f"owner=helm,name={release.name},version in ({revision},{revision + 1})"
    undoing = "status in (pending-rollback,uninstalling)"
    where = ("--namespace", release.namespace, "--selector", f"{mine},{undoing}")
    return ("get", "secrets", *where, "--output", "name", "--request-timeout", "30s")


class Progress:
    """While it is entered, reports each new problem of a release to ``say``.

    ``problems`` is what was wrong last, before Helm began to undo ``revision``: a text for each workload, with the
    last log lines of what crashes.
    """

    def __init__(
        self,
        reader: Reader,
        release: Release,
        revision: int,
        say: Callable[[str], None],
    ) -> None:
        self._reader, self._release, self._revision, self._say = reader, release, revision, say
        self._since = datetime.datetime.now(datetime.UTC) - SKEW
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._said: set[str] = set()
        self._kept = Look(())
        self.problems: tuple[str, ...] = ()

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if isinstance(error, TriplaneError) and not self._kept.explained:
            self._look_at_hooks()

    def _watch(self) -> None:
        while not self._stop.wait(SECONDS):
            try:
                look = self._look()
                if look.lines and self._undoing():
                    return
                self._report(look)
            except TriplaneError:
                continue

    def _undoing(self) -> bool:
        try:
            return bool(self._reader.run(back_args(self._release, self._revision)).stdout.strip())
        except TriplaneError:  # it may not be read, or Helm keeps its records elsewhere
            return False

    def _look(self) -> Look:
        objects = self._reader.read(self._release.namespace)
        return Look(standings(objects, waited_for(objects, self._release, self._since)))

    def _look_at_hooks(self) -> None:
        """Jobs of hooks are left when Helm has undone all else, and may have failed before the first look."""
        try:
            look = self._look()
            failed = [
                item for item in look.standings if item.workload.kind == "Job" and item.state == "failed"
            ]
            self._report(Look(tuple(failed)))
        except TriplaneError:
            return

    def _report(self, look: Look) -> None:
        lines = [f"Waiting for {self._reader.redact(line)}" for line in look.lines]
        for line in lines:
            if line not in self._said:
                self._say(line)
        self._said = set(lines)
        if look.lines and look != self._kept and (look.explained or not self._kept.explained):
            self._kept, self.problems = look, tuple(self._reader.causes(look))


def _belongs(item: Object, release: Release) -> bool:
    notes = item["metadata"].get("annotations") or {}
    namespace = notes.get(RELEASE_NAMESPACE, release.namespace)
    return (notes.get(RELEASE), namespace) == (release.name, release.namespace)


def _is_hook(item: Object, release: Release) -> bool:
    """Helm does not write on hooks whose they are; charts do, with a label or in the name."""
    meta = item["metadata"]
    if HOOK not in (meta.get("annotations") or {}):
        return False
    instance = (meta.get("labels") or {}).get(INSTANCE)
    return instance == release.name if instance else f"{meta['name']}-".startswith(f"{release.name}-")


def _made(item: Object) -> datetime.datetime:
    return datetime.datetime.fromisoformat(item["metadata"]["creationTimestamp"])
