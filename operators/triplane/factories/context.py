"""The spec as the factories use it: read once per parse, with what every DAG needs of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from airflow.sdk import DAG, Param
from airflow.sdk.definitions.param import ParamsDict

from triplane import settings
from triplane.core.digest import digest_file
from triplane.factories.values import PerEnvironment
from triplane.retrying import TransientOnly
from triplane.spec.load import load
from triplane.spec.model import Platform
from triplane.spec.release import EnvironmentRelease

ACTIONS = {
    "deploy": "plan, ask, apply.",
    "plan": "show what a deployment would change.",
    "rollback": "go back to the last good version before the one that is there now, or to the one named below.",
    "destroy": "remove everything, in reverse order.",
    "apply": "apply what another run planned and people approved there.",
}


class Build(NamedTuple):
    """A platform, where it came from, the digest that the frozen source must have, and what its DAGs' ids begin with."""

    platform: Platform
    file: Path
    digest: str
    prefix: str = ""

    @property
    def folder(self) -> Path:
        """The folder that is frozen and deployed."""
        return self.file.parent

    @property
    def remote(self) -> dict[str, Any] | None:
        """Where the source is fetched from, None where it is :attr:`folder`."""
        return self.platform.source.remote() if self.platform.source else None

    @property
    def checkout(self) -> str | None:
        """The folder in which git knows the source's commits, None where they are fetched."""
        return None if self.remote else str(self.folder)

    def dag_id(self, name: str, cloud: str | None = None) -> str:
        """The id of a DAG of this platform: ``deploy``, ``deploy_aws``, ``shop_drift_check``."""
        return f"{self.prefix}{name}_{cloud}" if cloud else f"{self.prefix}{name}"

    def common_params(self) -> dict[str, Param]:
        """The form that every DAG shows."""
        names = list(self.platform.environments)
        return {
            "environment": Param(names[0], enum=names, title="Environment"),
            "revision": Param(
                "HEAD",
                type="string",
                title="Revision",
                description="What to deploy: a branch, tag or commit of the platform's repository; a pull request, too, "
                "where it is fetched from a forge (`pull/12`, at GitLab `!12`).",
            ),
        }

    def action_params(self, *actions: str) -> dict[str, Param]:
        """The form of the DAGs that deploy. The first of ``actions`` is the default."""
        description = " ".join(f"{action}: {ACTIONS[action]}" for action in actions)
        return {
            **self.common_params(),
            "action": Param(actions[0], enum=list(actions), title="Action", description=description),
            "dry_run": Param(
                False,
                type="boolean",
                title="Dry run",
                description="Only plan the action: show what it would change, ask nobody and change nothing.",
            ),
            "to": Param(
                None,
                type=["null", "string"],
                title="Roll back to",
                description="For rollback: a commit, tag or run that was good before; empty for the last good one.",
            ),
            "emergency": Param(
                None,
                type=["null", "string"],
                title="Emergency",
                description="Why this cannot wait for a deployment window. It needs approvals of its own, and is recorded.",
            ),
        }


def spec(path: str | None = None, prefix: str = "") -> Build:
    """The platform spec at ``path``, by default the one in ``[triplane] platform``.

    A relative path starts at the folder of the DAG file, so that both may come from one repository at one commit.
    """
    file = Path(path) if path else settings.platform_file()
    if not file.is_absolute():
        file = _dag_folder() / file
    return _read(file.resolve(), file.stat().st_mtime_ns)._replace(prefix=prefix)


def _dag_folder() -> Path:
    """The folder of the DAG file that is being parsed: of the first caller from outside of this package."""
    package = str(Path(__file__).parent)
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    return Path(frame.f_code.co_filename).absolute().parent


@lru_cache(maxsize=4)
def _read(file: Path, mtime: int) -> Build:
    return Build(load(file, files=False), file, digest_file(file))


def with_params(dag: DAG, params: Mapping[str, Param]) -> DAG:
    """Give ``dag`` its form, after its tasks: each of them would copy it, once for each class that it is made of."""
    dag.params = ParamsDict(dict(params))
    return dag


def policies(platform: Platform) -> dict[str, dict[str, Any]]:
    """Environment -> its approval policy, as the plain values that go into a change set."""
    return {
        name: environment.approval.policy(platform.groups, environment.windows, environment.freezes)
        for name, environment in platform.environments.items()
    }


def releases(platform: Platform, value: Callable[[EnvironmentRelease], Any]) -> PerEnvironment:
    """What the release of each environment says, to be put in when a run names its environment."""
    return PerEnvironment({name: value(platform.release_of(name)) for name in platform.environments})


def retries() -> dict[str, Any]:
    """For tasks that may safely run again: twice more, later each time, unless a retry cannot help.

    The delays beside the policy are those of a task that was killed: then no policy is asked.
    """
    return {
        "retries": 2,
        "retry_policy": TransientOnly(),
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=2),
    }
