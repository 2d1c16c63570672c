"""The spec as the factories use it: read once per parse, with what every DAG needs of it."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from airflow.sdk import Param

from triplane import settings
from triplane.core.digest import digest_file
from triplane.spec.load import load
from triplane.spec.model import Platform


class Build(NamedTuple):
    """A platform, where it came from, and the digest that the frozen source must have."""

    platform: Platform
    file: Path
    digest: str

    @property
    def folder(self) -> Path:
        """The folder that is frozen and deployed."""
        return self.file.parent

    def common_params(self) -> dict[str, Param]:
        """The form that every DAG shows."""
        names = list(self.platform.environments)
        return {
            "environment": Param(names[0], enum=names, title="Environment"),
            "revision": Param(
                "HEAD",
                type="string",
                title="Revision",
                description="What to deploy: a branch, tag or commit of the platform's repository.",
            ),
        }


def spec(path: str | None = None) -> Build:
    """The platform spec at ``path``, by default the one in ``[triplane] platform``."""
    file = Path(path) if path else settings.platform_file()
    return _read(file.resolve(), file.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(file: Path, mtime: int) -> Build:
    return Build(load(file, files=False), file, digest_file(file))


def policies(platform: Platform) -> dict[str, dict[str, Any]]:
    """Environment -> its approval policy, as the plain values that go into a change set."""
    return {name: environment.approval.policy() for name, environment in platform.environments.items()}


def retries() -> dict[str, Any]:
    """For tasks that may safely run again: twice more, later each time."""
    return {
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=2),
    }
