"""Installs the tools and emulators of the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def install(cache: Path, on_progress: Callable[[str], None] = lambda line: None) -> None:
    """Install everything that the sandbox needs into ``cache``."""
    raise NotImplementedError
