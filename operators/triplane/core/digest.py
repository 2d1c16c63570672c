"""SHA-256 digests of values, files and folders, all written ``sha256:<hex>``."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8: equal values give equal bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: Any) -> str:
    """Digest of bytes as they are, of anything else as canonical JSON."""
    data = value if isinstance(value, bytes) else canonical_json(value)
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def tree_files(root: Path, ignore: Sequence[str] = ()) -> Iterator[Path]:
    """Files and symbolic links below ``root`` in a fixed order; ``ignore`` holds globs of relative paths."""
    found: list[str] = []
    for folder, names, files in os.walk(root):
        base = Path(folder).relative_to(root)
        links = [name for name in names if (Path(folder) / name).is_symlink()]
        names[:] = [n for n in names if n not in links and not _ignored((base / n).as_posix(), ignore)]
        found += [(base / name).as_posix() for name in (*files, *links)]
    yield from (root / name for name in sorted(found) if not _ignored(name, ignore))


def digest_tree(root: Path, ignore: Sequence[str] = ()) -> str:
    """Digest of names, executable bits and contents below ``root``; times and owners do not count."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a directory")
    entries = []
    for path in tree_files(root, ignore):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            entries.append([name, "link", os.readlink(path)])
        else:
            entries.append([name, "x" if os.access(path, os.X_OK) else "-", digest_file(path)])
    return digest(entries)


def _ignored(name: str, ignore: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, glob) for glob in ignore)
