"""Which commit, and which run of it: the same commit twice is the same run."""

from __future__ import annotations

import re
import secrets
import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from triplane.cli.api import Api
from triplane.cli.exits import NotFoundError
from triplane.core.digest import digest
from triplane.core.errors import InputError

COMMIT_VARIABLES = (
    "GITHUB_SHA",
    "CI_COMMIT_SHA",
    "BUILD_SOURCEVERSION",
    "CODEBUILD_RESOLVED_SOURCE_VERSION",
    "COMMIT_SHA",
)
"""GitHub Actions, GitLab CI, Azure Pipelines, AWS CodeBuild, Google Cloud Build."""
PULL_REQUEST_VARIABLES = {
    "GITHUB_REF": r"refs/pull/(\d+)/\w+",
    "CI_MERGE_REQUEST_IID": r"(\d+)",
    "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER": r"(\d+)",
    "CODEBUILD_WEBHOOK_TRIGGER": r"pr/(\d+)",
    "PR_NUMBER": r"(\d+)",
}
"""The same systems; Cloud Build passes its ``_PR_NUMBER`` on where a build says so."""
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_PLAIN = re.compile(r"[A-Za-z0-9_~-]{1,60}")


class Request(NamedTuple):
    """What somebody asks for. ``key`` tells runs of one commit apart, ``revision`` is a commit where it is known."""

    dag_id: str
    action: str
    environment: str
    revision: str
    conf: Mapping[str, Any]
    key: str = ""
    note: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether asking twice means the same run."""
        by_commit = self.action in ("deploy", "plan") and bool(_COMMIT.fullmatch(self.revision))
        return bool(self.key) or by_commit

    @property
    def run_id(self) -> str:
        """The id of its first run, where it is repeatable; else of a new one."""
        commit = self.revision[:12] if _COMMIT.fullmatch(self.revision) else ""
        last = _short(self.key) if self.key else "" if self.repeatable else secrets.token_hex(5)
        planned = "dry-run" if self.conf.get("dry_run") else ""
        number = f"pr{self.conf['pull_request']}" if self.conf.get("pull_request") else ""
        parts = ("ci", _short(self.environment), self.action, planned, number, commit, last)
        return "-".join(part for part in parts if part)


class Started(NamedTuple):
    """A run, and whether it was there before."""

    dag_id: str
    run_id: str
    attached: bool


def commit(revision: str | None, environ: Mapping[str, str], folder: str = ".") -> str:
    """The commit: of ``revision`` where git knows it here, else the one that CI builds, else as given; ``HEAD``, which
    is then what the server has, if nothing is given."""
    if revision:
        return _resolved(revision, folder) or revision
    found = next((environ[name] for name in COMMIT_VARIABLES if environ.get(name)), "")
    return found or "HEAD"


def pull_request(environ: Mapping[str, str]) -> int | None:
    """The number of the pull request that CI builds, None if it builds none."""
    found = (re.fullmatch(pattern, environ.get(name, "")) for name, pattern in PULL_REQUEST_VARIABLES.items())
    return next((int(match[1]) for match in found if match), None)


def start(api: Api, request: Request, *, again: bool = False) -> Started:
    """Start the run, or find the one that was started before.

    :param again: start another one even so
    :raises InputError: the run that is there was asked for with other parameters
    """
    run_id, number = request.run_id, 1
    if request.repeatable:
        number = max((_number(run_id, found) for found in _like(api, request.dag_id, run_id)), default=0)
        number += again or not number
    name = f"{run_id}-again{number}" if number > 1 else run_id
    if api.start(request.dag_id, name, request.conf, request.note):
        return Started(request.dag_id, name, attached=False)
    _same(api.run(request.dag_id, name), request)
    return Started(request.dag_id, name, attached=True)


def find(api: Api, run_id: str) -> str:
    """The DAG that a run belongs to. :raises NotFoundError: there is no such run"""
    found = [run["dag_id"] for run in _runs(api, "~", run_id) if run["dag_run_id"] == run_id]
    if not found:
        raise NotFoundError(f"there is no run {run_id}; `triplane status` lists the last ones")
    if len(found) > 1:
        raise InputError(
            f"several DAGs have a run {run_id}: {', '.join(sorted(found))}; say which with --dag"
        )
    return str(found[0])


def _like(api: Api, dag_id: str, run_id: str) -> list[str]:
    return [str(run["dag_run_id"]) for run in _runs(api, dag_id, run_id)]


def _runs(api: Api, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    return list(api.pages(f"/dags/{quote(dag_id)}/dagRuns", "dag_runs", run_id_prefix_pattern=run_id))


def _number(run_id: str, found: str) -> int:
    if found == run_id:
        return 1
    match = re.fullmatch(rf"{re.escape(run_id)}-again(\d{{1,6}})", found)
    return int(match[1]) if match else 0


def _same(run: Mapping[str, Any], request: Request) -> None:
    conf = run.get("conf") or {}
    other = sorted(
        name
        for name in {*conf, *request.conf}
        if (conf.get(name) or None) != (request.conf.get(name) or None)
    )
    if other:
        raise InputError(
            f"run {run['dag_run_id']} of this commit was asked for with another {', '.join(other)}; "
            "--again starts a new one"
        )


def _resolved(revision: str, folder: str) -> str:
    command = [
        "git",
        "-C",
        folder,
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{revision}^{{commit}}",
    ]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def _short(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else digest({"key": text}).removeprefix("sha256:")[:12]
