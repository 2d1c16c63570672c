"""Zip archives whose bytes depend on nothing but names, modes and contents."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

EPOCH = (1980, 1, 1, 0, 0, 0)

Files = Mapping[str, tuple[bool, bytes]]
"""Name -> whether it is executable, and its content."""


def pack(files: Files) -> bytes:
    """Sorted, times fixed, modes 0644 or 0755, not compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            executable, content = files[name]
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, tuple[bool, bytes]]:
    """What :func:`pack` has packed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {
            entry.filename: (bool(entry.external_attr >> 16 & 0o100), archive.read(entry))
            for entry in archive.infolist()
        }
