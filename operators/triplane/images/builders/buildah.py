"""Builds with buildah: without a daemon, and without more rights than its user has."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triplane.core.process import Command, private_dir, run, stop_all, tool_env
from triplane.images.builders import BuildRequest, Log

_PASSED = ("STORAGE_DRIVER", "STORAGE_OPTS", "CONTAINERS_CONF", "CONTAINERS_REGISTRIES_CONF")


class Buildah:
    """``storage`` is a folder of this builder's own, with the layers it has built or pulled so far.

    ``isolation`` is how RUN steps are kept apart: ``chroot`` works inside a container, ``oci`` and
    ``rootless`` isolate more.
    """

    def __init__(self, storage: Path, *, isolation: str = "chroot") -> None:
        self.storage = storage
        self.isolation = isolation

    def build(self, request: BuildRequest, layout: Path, *, log: Log, timeout: float | None = None) -> None:
        """Build and write the OCI layout; the same request gives the same bytes."""
        self.storage.mkdir(mode=0o700, parents=True, exist_ok=True)
        with private_dir() as scratch, self._in_use():
            image_id = scratch / "image-id"
            run(self._command(build_args(request, self.isolation, image_id)), on_line=log, timeout=timeout)
            push = push_args(image_id.read_text().strip(), layout)
            run(self._command(push), on_line=log, timeout=timeout)

    def cancel(self) -> None:
        """End a running build."""
        stop_all()

    def _command(self, arguments: tuple[str, ...]) -> Command:
        return Command(
            argv=("buildah", *storage_args(self.storage), *arguments), env=tool_env(*_PASSED), grace=10
        )

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Shared with other builds; whoever is alone first removes what interrupted builds left behind."""
        with (self.storage / "in-use").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                run(self._command(("rm", "--all")), timeout=120)
            except BlockingIOError:
                pass
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield


def storage_args(storage: Path) -> tuple[str, ...]:
    """Where buildah keeps its layers."""
    return ("--root", str(storage / "root"), "--runroot", str(storage / "run"))


def build_args(request: BuildRequest, isolation: str, image_id: Path) -> tuple[str, ...]:
    """``bud`` with everything fixed that would differ from build to build.

    Layers of earlier builds are reused only without arguments: buildah takes a cached ``LABEL x=$ARG``
    for the same step when only the value of the argument has changed.
    """
    layers = "false" if request.args else "true"
    return (
        *("bud", "--isolation", isolation, f"--layers={layers}", "--format", "oci"),
        *("--timestamp", "0", "--identity-label=false", "--iidfile", str(image_id)),
        *(word for key, value in sorted(request.args.items()) for word in ("--build-arg", f"{key}={value}")),
        *("--file", str(request.context / request.dockerfile), str(request.context)),
    )


def push_args(image_id: str, layout: Path) -> tuple[str, ...]:
    """Writes the built image as an OCI layout."""
    return ("push", "--format", "oci", image_id, f"oci:{layout}")
