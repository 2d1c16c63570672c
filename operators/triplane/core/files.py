"""Files that are there whole or not at all, whoever is killed meanwhile.

Paths are ``pathlib.Path`` or Airflow ``ObjectStoragePath``. Object stores show a file once it is complete;
on a file system it is written beside its place first.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def create(path: Any, data: bytes) -> None:
    """Write a new file. :raises FileExistsError: it is there already"""
    local = _local(path)
    if local is None:
        with path.open("xb") as file:
            file.write(data)
        return
    with _beside(local, data) as written:
        os.link(written, local)


def replace(path: Any, data: bytes) -> None:
    """Write a file, over what is there."""
    local = _local(path)
    if local is None:
        path.write_bytes(data)
        return
    with _beside(local, data) as written:
        os.replace(written, local)


@contextmanager
def _beside(path: Path, data: bytes) -> Iterator[Path]:
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield scratch
    finally:
        scratch.unlink(missing_ok=True)


def _local(path: Any) -> Path | None:
    if isinstance(path, Path):
        return path
    return Path(path.path) if path.protocol in ("file", "local") else None
