"""Turns a folder at a revision into one immutable archive."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from triplane.core.digest import tree_files
from triplane.core.errors import InputError, ToolError
from triplane.core.process import Command, run, tool_env

WORKING_TREE = "working-tree"
IGNORED = (".git", ".git/*", "*/.terraform", ".terraform/*", "*/.terraform/*", "*__pycache__*")


@dataclass(frozen=True)
class Frozen:
    """``archive`` is a tar of the folder; ``revision`` a commit id, or ``working-tree`` outside git."""

    revision: str
    archive: bytes


def freeze(folder: Path, revision: str) -> Frozen:
    """The content of ``folder`` at ``revision`` (anything git resolves to a commit).

    A folder that is not in a git repository is taken as it is, and only as ``HEAD``. Uncommitted
    changes are never part of a revision.

    :raises InputError: git does not know the revision
    """
    if not _in_git(folder):
        if revision not in ("HEAD", WORKING_TREE):
            raise InputError(f"{folder} is not in a git repository, so it has no revision {revision!r}")
        return Frozen(WORKING_TREE, _tar(folder))
    commit = _git(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    prefix = _git(folder, "rev-parse", "--show-prefix").strip()
    top = Path(_git(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
    return Frozen(commit, _git_tar(top, f"{commit}:{prefix}" if prefix else commit))


def _git_tar(folder: Path, tree: str) -> bytes:
    """The tar of a tree, made anew so that its bytes depend on the content alone."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "tree.tar"
        _git(folder, "archive", "--format=tar", f"--output={archive}", tree)
        content = Path(scratch) / "content"
        with tarfile.open(archive) as tar:
            tar.extractall(content, filter="data")
        return _tar(content)


def _in_git(folder: Path) -> bool:
    try:
        return _git(folder, "rev-parse", "--is-inside-work-tree").strip() == "true"
    except (ToolError, InputError):
        return False


def _git(folder: Path, *args: str) -> str:
    command = Command(argv=("git", "-C", str(folder), *args), env=tool_env())
    try:
        return run(command, timeout=120).stdout
    except ToolError as error:
        raise InputError(f"git {args[0]} in {folder} failed: {error.stderr.strip()}") from error


def _tar(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in tree_files(folder, IGNORED):
            info = tar.gettarinfo(path, arcname=path.relative_to(folder).as_posix())
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = ""
            info.mode = 0o755 if info.mode & 0o100 else 0o644
            if info.issym():
                tar.addfile(info)
            else:
                with path.open("rb") as file:
                    tar.addfile(info, file)
    return buffer.getvalue()
