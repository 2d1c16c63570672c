"""``platform.yaml`` -> :class:`Platform`, or every problem of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from triplane.spec import cache
from triplane.spec.model import Platform

if TYPE_CHECKING:
    from triplane.spec.document import Problem


class SpecError(ValueError):
    """The spec is wrong; ``problems`` says where and how, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


def load(path: Path | str, *, files: bool = True) -> Platform:
    """The platform that the file describes.

    ``files=False`` leaves out the checks that look at the files the spec names, and remembers what was read, for a
    DAG file that is parsed again and again. Raises :class:`SpecError` with every problem.
    """
    text = None if files else _text(Path(path))
    if text is not None and (known := cache.get(text)):
        return known
    platform, problems = _read(path, files)
    if platform is None or problems:
        raise SpecError(problems)
    if text is not None:
        cache.put(text, platform)
    return platform


def _text(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def problems_of(path: Path | str) -> list[Problem]:
    """Every problem of the file, in its order; empty where :func:`load` would succeed."""
    return _read(path, files=True)[1]


def _read(path: Path | str, files: bool) -> tuple[Platform | None, list[Problem]]:
    from triplane.spec.reading import read  # not where the platform was read before

    return read(Path(path), files)
