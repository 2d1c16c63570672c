"""Zips a function's directory: the same content gives the same bytes, on every machine.

Names are sorted, times fixed, modes reduced to 0644 or 0755, and nothing is compressed, since
compressed bytes depend on the zlib build of the worker. ``.deployignore`` leaves files out.
What the function needs beside its own code comes along on request, see :mod:`triplane.serverless.dependencies`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from triplane.core.digest import digest
from triplane.core.errors import InputError
from triplane.serverless import dependencies
from triplane.serverless.archive import pack, unpack

ALWAYS_IGNORED = (".deployignore", ".git/", "__pycache__/", "*.pyc", ".DS_Store", ".venv/")


@dataclass(frozen=True)
class Package:
    """A zip archive and its digest (``sha256:<hex>`` of the bytes)."""

    data: bytes = field(repr=False)
    digest: str
    names: tuple[str, ...]


def build(
    path: Path,
    *,
    platform: str | Sequence[str] | None = None,
    python: str = "",
    timeout: float = dependencies.INSTALL_SECONDS,
    log: Callable[[str], None] | None = None,
) -> Package:
    """The package of directory ``path``.

    With a ``platform`` (``manylinux2014_x86_64``, or several of which each will do) the dependencies that the
    directory names are in it, for that platform and version of ``python`` (``3.13``); files of the directory go before
    those of dependencies. ``timeout`` is in seconds.

    :raises InputError: the directory is missing, empty, or holds links; its dependencies cannot be had
    :raises TransientError: the package index cannot be reached
    """
    if not path.is_dir():
        raise InputError(f"{path}: a function's package is made from a directory, and this is none")
    names = sorted(_names(path, patterns(path)))
    if not names:
        raise InputError(f"{path}: nothing to package (see .deployignore)")
    files = {name: (_executable(path / name), (path / name).read_bytes()) for name in names}
    if platform is not None:
        wanted = dependencies.wanted(path, platform, python)
        if wanted is not None:
            files = {**unpack(dependencies.install(wanted, timeout=timeout, log=log)), **files}
    data = pack(files)
    return Package(data, digest(data), tuple(sorted(files)))


def check(data: bytes, artifact: str, name: str) -> None:
    """:raises InputError: ``data`` is not what ``artifact`` says"""
    if digest(data) != artifact:
        raise InputError(f"{name}: the package is {digest(data)}, not {artifact}; plan again")


def check_unzipped(data: bytes, limit: int, name: str) -> None:
    """:raises InputError: it holds more than ``limit`` bytes, or is no zip archive"""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise InputError(f"{name}: the package is no zip archive") from error
    if size > limit:
        raise InputError(
            f"{name}: the package holds {size / 2**20:.0f} MiB, and {limit / 2**20:.0f} are allowed; leave files "
            f"out with .deployignore, or use an image ({biggest(data)})"
        )


def biggest(data: bytes, count: int = 3) -> str:
    """The largest files of a package, for people."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: (-entry.file_size, entry.filename))[:count]
    return "largest: " + ", ".join(f"{each.filename} {each.file_size / 2**20:.1f} MiB" for each in entries)


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


def _executable(file: Path) -> bool:
    return bool(file.stat().st_mode & 0o100)
