"""Ways to build an image. Each writes an OCI layout with one image in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from triplane.core.errors import InputError

LOCAL = ("buildah", "docker")
NATIVE = ("codebuild", "cloud_build", "acr_tasks")
Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """What to build. ``context`` is a staged context: every file in it is part of the image's key. ``auth_file`` holds
    logins for base images, None to use those of the worker.

    ``platforms`` such as ``linux/arm64`` are those to build for; empty is the builder's own. Several make an
    image index, whose digest is the image's.
    """

    name: str
    context: Path
    dockerfile: str = "Dockerfile"
    args: Mapping[str, str] = field(default_factory=dict)
    auth_file: Path | None = None
    platforms: tuple[str, ...] = ()


class Builder(Protocol):
    """Builds images; :func:`triplane.core.process.stop_all` or ``cancel`` ends a build early."""

    def build(self, request: BuildRequest, layout: Path, *, log: Log, timeout: float | None) -> None:
        """Build and write the OCI layout ``layout``. Raises ``ToolError`` or ``InputError``."""

    def cancel(self) -> None:
        """End a running build; ``build`` then raises."""


def choose(builder: str, docker_host: str) -> str:
    """The builder that ``auto`` means on this worker: buildah where it is installed, else the Docker Engine.

    :raises InputError: it has neither, or ``builder`` is no builder of a worker
    """
    if builder in LOCAL:
        return builder
    if builder != "auto":
        raise InputError(f"{builder!r} does not build on a worker; use auto, {' or '.join(LOCAL)}")
    if shutil.which("buildah"):
        return "buildah"
    scheme, _, path = docker_host.partition("://")
    if scheme != "unix" or Path("/", path).is_socket():
        return "docker"
    raise InputError(
        f"this worker has no buildah, and no Docker Engine at {docker_host}: install buildah, set DOCKER_HOST, or "
        f"build in a cloud with `builder: {'`, `'.join(NATIVE)}`"
    )
