"""Where an image comes from, as OCI labels."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from triplane.core.errors import InputError
from triplane.core.git import WORKING_TREE, git, inside

PREFIX = "org.opencontainers.image"
_SCP = re.compile(r"(?:[^@/\s]+@)?(?P<host>[^:/\s]+):(?P<path>[^/\s].*)")
_URL = re.compile(r"(?:https?|ssh|git)://(?:[^@/\s]*@)?(?P<host>[^:/\s]+)(?::\d+)?/(?P<path>.+)")


def provenance(folder: Path, path: str, revision: str) -> dict[str, str]:
    """``source``, ``revision`` and ``created`` of the context ``path`` in ``folder``; empty outside git.

    The revision is the last commit up to ``revision`` that changed the context, ``created`` its time: so another
    commit elsewhere does not make another image.

    :raises InputError: git does not know the revision
    """
    if revision == WORKING_TREE or not inside(folder):
        return {}
    last = git(folder, "log", "-1", "--format=%H %ct", revision, "--", path).split()
    commit, seconds = last or git(folder, "log", "-1", "--format=%H %ct", revision).split()
    created = datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
    found = {f"{PREFIX}.revision": commit, f"{PREFIX}.created": created}
    source = _source(folder)
    return found | ({f"{PREFIX}.source": source} if source else {})


def _source(folder: Path) -> str:
    """The address of the repository as a browser takes it, without user and password."""
    try:
        remote = git(folder, "remote", "get-url", "origin").strip()
    except InputError:
        return ""
    match = _URL.fullmatch(remote) or _SCP.fullmatch(remote)
    return f"https://{match['host']}/{match['path'].removesuffix('/').removesuffix('.git')}" if match else ""
