"""Says what pods are waiting for while Helm is silent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType

from triplane.core.errors import TriplaneError
from triplane.kubernetes import kubectl
from triplane.kubernetes.helm import Release

SECONDS = 3.0


class Progress:
    """Reports each new problem of a release's pods to ``say``; remembers what was wrong last."""

    def __init__(self, kubeconfig: Path, release: Release, binary: str, say: Callable[[str], None]) -> None:
        self._read = partial(kubectl.read, kubeconfig, release.namespace, release.name, binary)
        self._say = say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.problems: tuple[str, ...] = ()

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SECONDS):
            try:
                problems = self._read().problems
            except TriplaneError:
                continue
            for problem in problems:
                if problem not in self.problems:
                    self._say(f"Waiting for {problem}")
            self.problems = problems or self.problems
