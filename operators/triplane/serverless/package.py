"""Zips a function's directory: the same content gives the same bytes, on every machine.

Names are sorted, times fixed, modes reduced to 0644 or 0755, and nothing is compressed, since
compressed bytes depend on the zlib build of the worker. ``.deployignore`` leaves files out.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from triplane.core.digest import digest
from triplane.core.errors import InputError

ALWAYS_IGNORED = (".deployignore", ".git/", "__pycache__/", "*.pyc", ".DS_Store", ".venv/")
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Package:
    """A zip archive and its digest (``sha256:<hex>`` of the bytes)."""

    data: bytes = field(repr=False)
    digest: str
    names: tuple[str, ...]


def build(path: Path) -> Package:
    """The package of directory ``path``. Raises ``InputError`` when it is missing, empty, or holds links."""
    if not path.is_dir():
        raise InputError(f"{path}: a function's package is made from a directory, and this is none")
    names = sorted(_names(path, patterns(path)))
    if not names:
        raise InputError(f"{path}: nothing to package (see .deployignore)")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            archive.writestr(_entry(path / name, name), (path / name).read_bytes())
    data = buffer.getvalue()
    return Package(data, digest(data), tuple(names))


def patterns(path: Path) -> tuple[str, ...]:
    """What is left out: a pattern a line in ``.deployignore``; ``#`` for comments, ``name/`` for directories."""
    file = path / ".deployignore"
    lines = file.read_text().splitlines() if file.is_file() else []
    return (*ALWAYS_IGNORED, *(line.strip() for line in lines if line.strip() and not line.startswith("#")))


def ignored(name: str, is_dir: bool, patterns: tuple[str, ...]) -> bool:
    """Whether ``name`` (relative, ``/`` between parts) is left out.

    A pattern with a ``/`` inside is matched against the whole path, any other against the last part.
    """
    for pattern in patterns:
        if pattern.endswith("/") and not is_dir:
            continue
        bare = pattern.rstrip("/")
        subject = name if "/" in bare else PurePosixPath(name).name
        if fnmatchcase(subject, bare.lstrip("/")):
            return True
    return False


def _names(root: Path, patterns: tuple[str, ...], inside: str = "") -> Iterator[str]:
    for child in (root / inside).iterdir():
        name = f"{inside}/{child.name}" if inside else child.name
        if ignored(name, child.is_dir(), patterns):
            continue
        if child.is_symlink():
            raise InputError(f"{child}: a link cannot be packaged; put the file itself there, or ignore it")
        if child.is_dir():
            yield from _names(root, patterns, name)
        else:
            yield name


def _entry(file: Path, name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = 3
    entry.external_attr = (0o100755 if file.stat().st_mode & 0o100 else 0o100644) << 16
    return entry
