"""Turns a folder at a revision into one immutable archive."""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from triplane.core.digest import tree_files
from triplane.core.errors import InputError
from triplane.core.git import WORKING_TREE, commit, git, inside

IGNORED = (".git", ".git/*", "*/.terraform", ".terraform/*", "*/.terraform/*", "*__pycache__*")


@dataclass(frozen=True)
class Frozen:
    """``archive`` is a tar of the folder; ``revision`` a commit id, or ``working-tree`` outside git."""

    revision: str
    archive: bytes


def freeze(folder: Path, revision: str, pinned: str | None = None) -> Frozen:
    """The content of ``folder`` at ``revision`` (anything git resolves to a commit).

    A folder that is not in a git repository is taken as it is, and only as ``HEAD``. Uncommitted
    changes are never part of a revision.

    :param pinned: the commit that ``folder`` was checked out at, where Airflow did that and left git's own files out
    :raises InputError: git does not know the revision
    """
    if pinned and not (inside(folder) and commit(folder, "HEAD") == pinned):
        if revision not in ("HEAD", pinned):
            raise InputError(
                f"this run is pinned to commit {pinned} of its DAG bundle, which has no other revision: deploy HEAD, or set "
                f"`prune_dotgit_folder` of the bundle to false to deploy {revision!r}"
            )
        return Frozen(pinned, _tar(folder))
    found = commit(folder, revision)
    if found == WORKING_TREE:
        return Frozen(WORKING_TREE, _tar(folder))
    prefix = git(folder, "rev-parse", "--show-prefix").strip()
    top = Path(git(folder, "rev-parse", "--show-toplevel").rstrip("\n"))
    return freeze_commit(top, found, prefix)


def freeze_commit(
    repository: Path, found: str, path: str = "", env: Mapping[str, str] | None = None
) -> Frozen:
    """The folder ``path`` of a commit (its full id) that ``repository`` has; ``env`` is git's.

    :raises InputError: the commit has no such folder, or holds what cannot be unpacked
    """
    try:
        return Frozen(found, _git_tar(repository, f"{found}:{path}" if path else found, env))
    except InputError as error:
        if "not a tree object" not in str(error) and "not a valid object" not in str(error):
            raise
        raise InputError(f"there is no folder {path} at {found}") from error


def _git_tar(folder: Path, tree: str, env: Mapping[str, str] | None) -> bytes:
    """The tar of a tree, made anew so that its bytes depend on the content alone."""
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "tree.tar"
        git(folder, "archive", "--format=tar", f"--output={archive}", tree, env=env)
        content = Path(scratch) / "content"
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(content, filter="data")
        except tarfile.FilterError as error:
            raise InputError(f"{tree} cannot be frozen: {error}; remove that link") from error
        return _tar(content)


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
