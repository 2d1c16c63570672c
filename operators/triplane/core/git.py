"""What a git repository says of a folder in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from triplane.core.errors import InputError, ToolError
from triplane.core.process import Command, run, tool_env

WORKING_TREE = "working-tree"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def inside(folder: Path) -> bool:
    """Whether ``folder`` is in a git repository."""
    try:
        return git(folder, "rev-parse", "--is-inside-work-tree").strip() == "true"
    except (ToolError, InputError):
        return False


def commit(folder: Path, revision: str) -> str:
    """The full id of the commit that ``revision`` (a branch, a tag, ``HEAD``) is now.

    A folder outside of git has one revision, :data:`WORKING_TREE`, which ``HEAD`` names too.

    :raises InputError: git does not know the revision
    """
    if not inside(folder):
        if revision not in ("HEAD", WORKING_TREE):
            raise InputError(f"{folder} is not in a git repository, so it has no revision {revision!r}")
        return WORKING_TREE
    return git(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()


def is_commit(revision: str) -> bool:
    """Whether ``revision`` is a commit's full id, which always names the same content."""
    return _COMMIT.fullmatch(revision) is not None


def git(folder: Path, *args: str, env: Mapping[str, str] | None = None) -> str:
    """What ``git`` prints. :raises InputError: it ended with an error

    :param env: its environment, by default the worker's, whose settings of git count
    """
    command = Command(argv=("git", "-C", str(folder), *args), env=tool_env() if env is None else env)
    try:
        return run(command, timeout=120).stdout
    except ToolError as error:
        raise InputError(f"git {args[0]} in {folder} failed: {error.stderr.strip()}") from error
