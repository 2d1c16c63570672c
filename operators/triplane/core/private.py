"""Private files and folders, and locks that a task hands on to the tools it starts."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from triplane.core.errors import RefusedError

PRIVATE_PREFIX = "triplane-task-"
ABANDONED_SECONDS = 60.0
_HELD: ContextVar[tuple[int, ...]] = ContextVar("triplane_held", default=())


def held() -> tuple[int, ...]:
    """The locks of :func:`hold` that tools started now inherit."""
    return _HELD.get()


@contextmanager
def hold(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Lock a folder; yields False at once where somebody else holds it.

    Tools that are started meanwhile keep the lock until they end, even if this process is killed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        token = _HELD.set((*_HELD.get(), descriptor))
        try:
            yield True
        finally:
            _HELD.reset(token)
    finally:
        os.close(descriptor)


@contextmanager
def private_dir() -> Iterator[Path]:
    """A directory that only this user can read, removed at the end.

    If this process is killed, it stays as long as a guarded tool still works in it; the next
    ``private_dir`` on this machine then removes it.
    """
    _remove_abandoned()
    path = Path(tempfile.mkdtemp(prefix=PRIVATE_PREFIX))
    try:
        with hold(path, shared=True):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def user_dir(name: str, *, memory: bool = False) -> Path:
    """The folder ``name`` that this user's processes share on this machine, for nobody else to read.

    With ``memory`` it is kept in memory where the system offers that.

    :raises RefusedError: somebody else made it
    """
    shared = Path("/dev/shm")
    parent = shared if memory and os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    path = parent / f"triplane-{os.getuid()}"
    for folder in (path, path / name):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
            raise RefusedError(f"{folder} is not private to this user; remove it")
    return path / name


def write_private(path: Path, data: str | bytes) -> Path:
    """Write a file that only this user can read, from its first byte on."""
    content = data.encode() if isinstance(data, str) else data
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    path.chmod(0o600)
    return path


def _remove_abandoned() -> None:
    """Remove private directories of this user that nobody holds any more."""
    for path in Path(tempfile.gettempdir()).glob(f"{PRIVATE_PREFIX}*"):
        try:
            found = path.stat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < ABANDONED_SECONDS:
                continue
            with hold(path) as free:
                if free:
                    shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
