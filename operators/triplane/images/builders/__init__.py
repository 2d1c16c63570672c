"""Ways to build an image. Each writes an OCI layout with one image in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to build. ``context`` is a staged context: every file in it is part of the image's key."""

    name: str
    context: Path
    dockerfile: str = "Dockerfile"
    args: Mapping[str, str] = field(default_factory=dict)


class Builder(Protocol):
    """Builds images; :func:`triplane.core.process.stop_all` or ``cancel`` ends a build early."""

    def build(self, request: BuildRequest, layout: Path, *, log: Log, timeout: float | None) -> None:
        """Build and write the OCI layout ``layout``. Raises ``ToolError`` or ``InputError``."""

    def cancel(self) -> None:
        """End a running build; ``build`` then raises."""
