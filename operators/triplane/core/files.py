"""Files that are there whole or not at all, whoever is killed meanwhile.

Paths are ``pathlib.Path`` or Airflow ``ObjectStoragePath``. Object stores show a file once it is complete;
on a file system it is written beside its place first. The clients of object stores remember what they have listed: here
they are always asked anew, since other machines write to the same store.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOCAL = ("", "file", "local")
AZURE = ("abfs", "abfss", "adl", "az")
EXCLUSIVE = (*LOCAL, "s3", "s3a", "gs", "gcs", *AZURE)
"""The stores whose clients have the server refuse a second writer (`If-None-Match`, `ifGenerationMatch`). Others take
:func:`create` for :func:`replace`, or look first and write then."""


def create(path: Any, data: bytes) -> None:
    """Write a new file, and the folders above it. :raises FileExistsError: it is there already"""
    local = _local(path)
    if local is None:
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            # A client that had no answer has asked again, and was refused for what it wrote itself.
            if read(path) != data:
                raise
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    with _beside(local, data) as written:
        os.link(written, local)


def replace(path: Any, data: bytes) -> None:
    """Write a file, over what is there, and the folders above it."""
    local = _local(path)
    if local is None:
        path.fs.pipe_file(path.path, data)
        return
    local.parent.mkdir(parents=True, exist_ok=True)
    with _beside(local, data) as written:
        os.replace(written, local)


def read(path: Any) -> bytes | None:
    """The content of a file, None if there is none."""
    local = _local(path)
    try:
        return path.fs.cat_file(path.path) if local is None else local.read_bytes()
    except FileNotFoundError:
        return None


def read_all(paths: Sequence[Any]) -> list[bytes]:
    """The contents of files of one folder; from an object store several at a time.

    :raises FileNotFoundError: one of them is gone
    """
    if not paths or _local(paths[0]) is not None:
        return [path.read_bytes() for path in paths]
    found = paths[0].fs.cat([path.path for path in paths])
    return [found[path.path] for path in paths]


def exists(path: Any) -> bool:
    """Whether there is such a file."""
    local = _local(path)
    if local is not None:
        return local.exists()
    path.fs.invalidate_cache()
    return bool(path.fs.exists(path.path))


def children(folder: Any) -> list[Any]:
    """The files and folders in a folder by their names, without hidden ones; none where there is no such folder."""
    local = _local(folder)
    try:
        found = _listed(folder) if local is None else [path.name for path in local.iterdir()]
    except FileNotFoundError:
        return []
    return [folder / name for name in sorted(found) if name[:1] not in ("", ".")]


def _listed(folder: Any) -> list[str]:
    folder.fs.invalidate_cache()
    listed = (str(path).rstrip("/") for path in folder.fs.ls(folder.path, detail=False))
    return [path.rpartition("/")[2] for path in listed if path != str(folder.path).rstrip("/")]


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
    return Path(path.path) if path.protocol in LOCAL else None
