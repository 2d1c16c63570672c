"""Platforms that were read before: a DAG file is parsed again and again, mostly with the same spec.

They are in a folder that is this user's alone, under a name that changes with the spec and with the code that reads it.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import time
from pathlib import Path

import pydantic

from triplane import __version__
from triplane.core import files
from triplane.core.errors import RefusedError
from triplane.core.private import user_dir
from triplane.spec.model import Platform

SECONDS = 7 * 24 * 3600.0
"""So long one is kept that nobody asks for."""
_BROKEN = (pickle.PickleError, EOFError, AttributeError, ImportError, IndexError, TypeError, ValueError)


def get(text: bytes) -> Platform | None:
    """The platform that this text was found to be; None if it was not read yet."""
    try:
        path = _path(text)
        found = pickle.loads(path.read_bytes())
    except (OSError, RefusedError, *_BROKEN):
        return None
    return found if isinstance(found, Platform) else None


def put(text: bytes, platform: Platform) -> None:
    """Remember what a text is. Where that cannot be, it is read again the next time."""
    try:
        path = _path(text)
        files.replace(path, pickle.dumps(platform))
        for other in path.parent.iterdir():
            if time.time() - other.stat().st_mtime > SECONDS:
                other.unlink(missing_ok=True)
    except (OSError, RefusedError):
        return


def _path(text: bytes) -> Path:
    known = hashlib.sha256(text)
    for stamp in (__version__, pydantic.VERSION, sys.version, *_code()):
        known.update(f"\n{stamp}".encode())
    return user_dir("specs") / known.hexdigest()


def _code() -> list[str]:
    """What says whether the code that reads a spec is still the same."""
    package = Path(__file__).parents[1]
    found = (entry for part in ("spec", "core") for entry in os.scandir(package / part))
    stamps = ((entry.name, entry.stat()) for entry in found if entry.name.endswith(".py"))
    return sorted(f"{name} {stat.st_mtime_ns} {stat.st_size}" for name, stat in stamps)
