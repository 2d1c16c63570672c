"""Waits for a rollout without a worker slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from triplane.core.errors import TriplaneError

if TYPE_CHECKING:
    from triplane.kubernetes.rollout import Look


class RolloutTrigger(BaseTrigger):
    """Fires ``{"state": "done" | "failed" | "timeout", "workloads": [...], "kept": {...}}``.

    Why it failed is not in the event: the task reads that itself, where it knows its secrets.

    :param workloads: ``[kind, namespace, name]`` of each
    :param access: the arguments of :func:`triplane.clouds.kubeconfig.kubeconfig`
    :param kept: what the task needs when it goes on; comes back as it is
    :param until: when it is given up, in seconds since 1970
    :param poll: seconds between two looks
    :param kubectl_bin: the program
    """

    def __init__(
        self,
        *,
        workloads: Sequence[Sequence[str]],
        access: Mapping[str, Any],
        until: float,
        kept: Mapping[str, Any] | None = None,
        poll: float = 15.0,
        kubectl_bin: str = "kubectl",
    ) -> None:
        super().__init__()
        self.workloads = [list(item) for item in workloads]
        self.access = dict(access)
        self.until = until
        self.kept = dict(kept or {})
        self.poll = poll
        self.kubectl_bin = kubectl_bin

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where this class is, and its arguments."""
        names = ("workloads", "access", "until", "kept", "poll", "kubectl_bin")
        return f"{__name__}.RolloutTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until it is decided. A cluster that does not answer is asked again until the time is over."""
        from asgiref.sync import sync_to_async

        while True:
            try:
                look = await sync_to_async(self._look, thread_sensitive=False)()
                if look.done or look.failed:
                    yield self._event("done" if look.done else "failed")
                    return
            except TriplaneError as error:
                self.log.warning("the rollout cannot be read now: %s", error)
            if time.time() >= self.until:
                yield self._event("timeout")
                return
            await asyncio.sleep(max(0.1, min(self.poll, self.until - time.time())))

    def _event(self, state: str) -> TriggerEvent:
        return TriggerEvent({"state": state, "workloads": self.workloads, "kept": self.kept})

    def _look(self) -> Look:
        """One look, with a kubeconfig of its own: whatever the wait, no token grows old."""
        from triplane.clouds.kubeconfig import kubeconfig
        from triplane.kubernetes.rollout import Rollout
        from triplane.kubernetes.standing import Workload

        found = tuple(Workload(*item) for item in self.workloads)
        with kubeconfig(**self.access) as path:
            return Rollout(kubeconfig=path, workloads=found, timeout=0, binary=self.kubectl_bin).look()
