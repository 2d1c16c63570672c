"""Working directories that stay initialized from one task to the next.

There is one for each source, stack and backend, in a folder that only this user can read, with a second and
third *slot* where several tasks work on the same at the same time. Plans and variables are never kept here.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from triplane.core.digest import digest, digest_file
from triplane.core.private import hold, user_dir
from triplane.terraform import workspace

KEPT_SECONDS = 7 * 24 * 3600.0
KEPT_NUMBER = 1000
LEFT_BEHIND = ("triplane_imports.tf.json", "crash.log")


@dataclass(frozen=True)
class Slot:
    """One working directory, held by this task. ``directory`` is the stack's copy in it, ``source`` the original."""

    place: Path
    directory: Path
    source: Path

    def initialized(self, setup: object, lock: bytes | None) -> bool:
        """Whether the last good ``init`` was for the same ``setup``, providers included."""
        stamp = self.place / "initialized"
        found = self.directory / workspace.LOCK_FILE
        if lock is not None and (not found.exists() or found.read_bytes() != lock):
            return False
        return stamp.exists() and stamp.read_text() == self._stamp(setup) and self._intact()

    def stamp(self, setup: object) -> None:
        """Note a good ``init``."""
        (self.place / "initialized").write_text(self._stamp(setup))

    def forget(self, lock: bytes | None) -> None:
        """Make ready for another ``init``: with the providers that ``lock`` pins, else those that the source does."""
        (self.place / "initialized").unlink(missing_ok=True)
        pinned, own = self.directory / workspace.LOCK_FILE, self.source / workspace.LOCK_FILE
        pinned.unlink(missing_ok=True)
        if lock is not None or own.exists():
            pinned.write_bytes(own.read_bytes() if lock is None else lock)

    def _stamp(self, setup: object) -> str:
        lock = self.directory / workspace.LOCK_FILE
        return digest([setup, digest_file(lock) if lock.exists() else "", self._linked()])

    def _linked(self) -> list[str | int]:
        """The providers that ``init`` linked: where they are, and since when."""
        providers = (self.directory / ".terraform" / "providers").glob("*/*/*/*/*")
        links = sorted(path.resolve() for path in providers if path.is_symlink())
        files = [file for link in links if link.is_dir() for file in sorted(link.iterdir())]
        return [value for file in files for value in (str(file), file.stat().st_mtime_ns)]

    def _intact(self) -> bool:
        """Whether the providers that ``init`` linked are still where they were."""
        providers = self.directory / ".terraform" / "providers"
        links = (path for path in providers.glob("*/*/*/*/*") if path.is_symlink())
        return (self.directory / ".terraform").is_dir() and all(link.exists() for link in links)


@contextmanager
def slot(root: Path, stack: str, key: object) -> Iterator[Slot]:
    """A working directory of ``root``/``stack`` that nobody else uses meanwhile."""
    folder = user_dir("workspaces") / digest([key]).removeprefix("sha256:")[:32]
    if not folder.exists():
        _prune(folder.parent)
    with ExitStack() as held:
        place = next(place for number in count() if (place := _take(folder / str(number), held)))
        os.utime(folder)
        yield Slot(place, _copy(root, stack, place), root / stack)


def _take(place: Path, held: ExitStack) -> Path | None:
    """``place`` if nobody else holds it."""
    while True:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            free = held.enter_context(hold(place))
        except FileNotFoundError:  # pruned at this moment
            continue
        if not free:
            return None
        if place.exists():
            return place


def _copy(root: Path, stack: str, place: Path) -> Path:
    """The stack's copy in ``place``, made anew if it was not finished."""
    copied = place / "copied"
    if not copied.exists():
        shutil.rmtree(place / "source", ignore_errors=True)
        (place / "initialized").unlink(missing_ok=True)
        workspace.copy_stack(root, stack, place / "source")
        copied.touch()
    directory = place / "source" / stack
    for name in LEFT_BEHIND:
        (directory / name).unlink(missing_ok=True)
    return directory


def _prune(root: Path) -> None:
    """Remove what nobody has used for long, or what is too much; never what is in use."""
    folders = sorted(root.iterdir(), key=_age, reverse=True)
    too_many = max(0, len(folders) - KEPT_NUMBER)
    for index, folder in enumerate(folders):
        if index >= too_many and _age(folder) < KEPT_SECONDS:
            return
        try:
            for place in folder.iterdir():
                with hold(place) as free:
                    if free:
                        shutil.rmtree(place, ignore_errors=True)
            folder.rmdir()
        except OSError:
            continue


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return 0.0
