"""A login at a registry, in a private file that the tools read, renewed while it is needed."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from triplane.core.process import write_private

LIFETIMES = {"aws": 12 * 3600.0, "gcp": 3600.0, "azure": 3 * 3600.0}
"""For how many seconds each cloud's login is good."""
FRESH_SECONDS = 60.0
"""A login that is refused at this age has not expired: it is wrong."""

Ask = Callable[[], tuple[str, str]]


class Login:
    """``ask`` gives user name and password; ``lifetime`` is in seconds, None for a password that does not expire."""

    def __init__(self, path: Path, registry: str, ask: Ask, *, lifetime: float | None = None) -> None:
        self.path = path
        self.fresh_seconds = FRESH_SECONDS
        self._registry = registry
        self._ask = ask
        self._lifetime = lifetime
        self._since = time.monotonic()
        write_logins(path, {registry: ask()})

    def keep_fresh(self) -> None:
        """Log in again if half of the lifetime is over: what starts now may take long."""
        if self._lifetime is not None and self._age > self._lifetime / 2:
            self._renew()

    def renewed(self) -> bool:
        """Log in again after a refusal; False where that cannot help."""
        if self._lifetime is None or self._age < self.fresh_seconds:
            return False
        self._renew()
        return True

    @property
    def _age(self) -> float:
        return time.monotonic() - self._since

    def _renew(self) -> None:
        since = time.monotonic()
        fresh = write_logins(self.path.with_suffix(".new"), {self._registry: self._ask()})
        fresh.replace(self.path)
        self._since = since


def write_logins(path: Path, logins: Mapping[str, tuple[str, str]]) -> Path:
    """Write logins (registry -> user name and password) as containers' auth file, readable by this user only."""
    auths = {
        registry: {"auth": base64.b64encode(":".join(login).encode()).decode()}
        for registry, login in logins.items()
    }
    return write_private(path, json.dumps({"auths": auths}))
