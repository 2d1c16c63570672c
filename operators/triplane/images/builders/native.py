"""Builds by a cloud's own build service, which goes on without us: started once, found again, waited for."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from triplane.core.errors import InputError
from triplane.images.builders import BuildRequest
from triplane.images.reference import Reference

State = Literal["running", "succeeded", "failed"]
FOLDER = "triplane-builds"
CONTEXT = "context.tar.gz"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Status:
    """How a build stands. ``reason`` says why it failed, ``digest`` what it pushed."""

    state: State
    reason: str = ""
    digest: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class NativeBuilder(Protocol):
    """One build service as one user. Builds are named by the service's own ids.

    Methods raise the service's own errors; :func:`triplane.images.services.translated` makes ours of them.
    """

    def find(self, key: str, target: Reference, since: datetime | None) -> str | None:
        """The running or succeeded build of ``key``, None if the service knows of none.

        ``since`` is when an earlier try asked for it and was killed before it could note the answer.

        :raises TransientError: there may be one, and whether there is will show later
        """

    def start(self, request: BuildRequest, key: str, target: Reference, timeout: float) -> str:
        """Upload the context and start the build, which pushes to ``target``; ``timeout`` is in seconds."""

    def status(self, build: str) -> Status:
        """How ``build`` stands."""

    def log(self, build: str, position: str) -> tuple[list[str], str]:
        """The lines after ``position`` (at first empty) and the next position."""

    def cancel(self, build: str) -> None:
        """Stop ``build`` if it runs."""

    def link(self, build: str) -> str:
        """Where a person can look at ``build``."""


def tag(key: str) -> str:
    """The tag under which a service pushes the image of ``key``."""
    return f"build-{key.removeprefix('sha256:')[:40]}"


def untaken(target: Reference, served: Callable[[Reference], str | None]) -> Reference:
    """``target``, or a tag that is not there yet: one that may not move refuses another build of its key.

    ``served`` gives the digest that the registry has under a tag. Tasks that ask at the same time get the same tag.
    """
    while (found := served(target)) is not None:
        target = target.tagged(f"{target.tag}-{found.removeprefix('sha256:')[:8]}")
    return target


def object_name(key: str, suffix: str) -> str:
    """Where the context of ``key`` is kept in a bucket."""
    return f"{FOLDER}/{key.removeprefix('sha256:')}.{suffix}"


def archive(context: Path) -> bytes:
    """The staged context as tar.gz: the same files give the same bytes."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = 0
        return member

    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(context.iterdir()):
            tar.add(path, path.name, filter=plain)
    return buffer.getvalue()


def zipped(context: Path) -> bytes:
    """The same inside a zip, for a service that takes nothing else: zip knows neither links nor modes well."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo(CONTEXT, _LONG_AGO), archive(context))
    return buffer.getvalue()


def docker_args(request: BuildRequest, target: Reference) -> tuple[str, ...]:
    """``docker build`` in the context's folder, as the services' own Docker takes it."""
    return (
        *("build", "--file", request.dockerfile, "--tag", str(target)),
        *(word for name in request.platforms for word in ("--platform", name)),
        *(
            word
            for name, value in sorted(request.args.items())
            for word in ("--build-arg", f"{name}={value}")
        ),
        ".",
    )


def one_platform(request: BuildRequest, builder: str) -> str | None:
    """The platform to build for, None for the service's own.

    :raises InputError: several are wanted
    """
    if len(request.platforms) > 1:
        raise InputError(
            f"{request.name}: {builder} builds for one platform at a time, not for {', '.join(request.platforms)}; "
            "set `builder: buildah`"
        )
    return request.platforms[0] if request.platforms else None


def lines(text: bytes, start: int) -> tuple[list[str], str]:
    """The whole lines of what a log has from byte ``start`` on, and where the rest begins."""
    whole = text.rpartition(b"\n")[0]
    found = whole.decode(errors="replace").splitlines() if whole else []
    return found, str(start + len(whole) + (1 if whole else 0))
