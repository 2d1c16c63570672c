"""Builds with buildah: without a daemon, and without more rights than its user has."""

from __future__ import annotations

import fcntl
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from triplane.core.digest import digest
from triplane.core.errors import InputError, ToolError
from triplane.core.jobs import Job
from triplane.core.private import private_dir
from triplane.core.process import Command, left_over, run, stop_all, tool_env
from triplane.images.builders import BuildRequest, Log
from triplane.images.layout import sort_platforms

_PASSED = (
    "STORAGE_DRIVER",
    "STORAGE_OPTS",
    "CONTAINERS_CONF",
    "CONTAINERS_REGISTRIES_CONF",
    "REGISTRY_AUTH_FILE",
)

_NATIVE = {"x86_64": ("amd64", "386"), "aarch64": ("arm64", "arm")}
_QEMU = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}
_EMULATORS = Path("/proc/sys/fs/binfmt_misc")


class Buildah:
    """``storage`` is a folder of this builder's own, with the layers it has built or pulled so far. As ``job`` a
    build is found again by a retry.

    ``isolation`` is how RUN steps are kept apart: ``chroot`` works inside a container, ``oci`` and
    ``rootless`` isolate more.
    """

    def __init__(self, storage: Path, *, isolation: str = "chroot", job: Job | None = None) -> None:
        self.storage = storage
        self.job = job
        self.isolation = isolation

    def build(self, request: BuildRequest, layout: Path, *, log: Log, timeout: float | None = None) -> None:
        """Build and write the OCI layout; the same request gives the same bytes."""
        with private_dir() as scratch, self.in_use():
            image_id = (self.job.directory if self.job else scratch) / "image-id"
            index = index_name(image_id) if len(request.platforms) > 1 else None
            if not (self.job and left_over(self.job, on_line=log)):
                self._forget(index)
                logins = {"REGISTRY_AUTH_FILE": str(request.auth_file)} if request.auth_file else {}
                command = self._command(build_args(request, self.isolation, image_id, index), **logins)
                with explained(request):
                    run(command, on_line=log, timeout=timeout, job=self.job)
            pushed = (
                index_push_args(index, layout) if index else push_args(image_id.read_text().strip(), layout)
            )
            run(self._command(pushed), on_line=log, timeout=timeout)
            if index:
                sort_platforms(layout)  # buildah lists them as their builds end
            self._forget(index)
            if self.job:
                self.job.forget()

    def cancel(self) -> None:
        """End a running build."""
        stop_all()

    def _command(self, arguments: tuple[str, ...], **env: str) -> Command:
        argv = ("buildah", *storage_args(self.storage), *arguments)
        return Command(argv=argv, env=tool_env(*_PASSED, **env), grace=10)

    def _forget(self, index: str | None) -> None:
        """Remove an image index: a build would add to what is there."""
        if index:
            run(replace(self._command(("manifest", "rm", index)), ok=frozenset({0, 1, 125})), timeout=60)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Shared with other builds; whoever is alone first removes what interrupted builds left behind."""
        self.storage.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.storage / "in-use").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                run(self._command(("rm", "--all")), timeout=120)
            except BlockingIOError:
                pass
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield


@contextmanager
def explained(request: BuildRequest) -> Iterator[None]:
    """Say so where a step failed because the worker cannot run its platform's programs."""
    try:
        yield
    except ToolError as error:
        said = error.stderr.lower()
        foreign = [each for each in request.platforms if _is_foreign(each)]
        # buildah can lose what a step said while it could not even begin
        if request.platforms and (
            "exec format error" in said or (foreign and 'building at step "run' in said)
        ):
            raise InputError(
                f"{request.name}: this worker cannot run a step for one of {', '.join(foreign or request.platforms)}: "
                "install an emulator (qemu-user-static) on it, or build that platform where it is at home"
            ) from error
        raise


def _is_foreign(wanted: str) -> bool:
    """Whether programs of that platform need an emulator that this machine does not have, as far as it tells."""
    architecture = wanted.split("/")[1]
    machine = platform.machine()
    return architecture not in _NATIVE.get(machine, (machine,)) and not any(
        _EMULATORS.glob(f"qemu-{_QEMU.get(architecture, architecture)}*")
    )


def storage_args(storage: Path) -> tuple[str, ...]:
    """Where buildah keeps its layers."""
    return ("--root", str(storage / "root"), "--runroot", str(storage / "run"))


def index_name(image_id: Path) -> str:
    """The name of an image index while it is built; no other build's."""
    return f"localhost/triplane:{digest(str(image_id)).removeprefix('sha256:')[:32]}"


def build_args(
    request: BuildRequest, isolation: str, image_id: Path, index: str | None = None
) -> tuple[str, ...]:
    """``bud`` with everything fixed that would differ from build to build; several platforms go into ``index``.

    Layers of earlier builds are reused only without arguments: buildah takes a cached ``LABEL x=$ARG``
    for the same step when only the value of the argument has changed, and one platform's layer for another's.
    """
    layers = "false" if request.args or request.platforms else "true"
    return (
        *("bud", "--isolation", isolation, f"--layers={layers}", "--format", "oci"),
        *("--timestamp", "0", "--identity-label=false"),
        *(("--manifest", index) if index else ("--iidfile", str(image_id))),
        *(("--platform", ",".join(request.platforms)) if request.platforms else ()),
        *(word for key, value in sorted(request.args.items()) for word in ("--build-arg", f"{key}={value}")),
        *("--file", str(request.context / request.dockerfile), str(request.context)),
    )


def push_args(image_id: str, layout: Path) -> tuple[str, ...]:
    """Writes the built image as an OCI layout."""
    return ("push", "--format", "oci", image_id, f"oci:{layout}")


def index_push_args(index: str, layout: Path) -> tuple[str, ...]:
    """Writes the built image index, with the images of all platforms, as an OCI layout."""
    return ("manifest", "push", "--all", "--format", "oci", index, f"oci:{layout}")
