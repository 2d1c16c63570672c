"""What the clouds' build services do with what they are sent: real builds by buildah, really pushed.

Only the standard library is used here, since the AWS emulator has an environment of its own.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

State = Literal["running", "succeeded", "failed", "cancelled"]
STOP_SECONDS = 5.0
# What the services' Docker is told, buildah does. Images get Docker's own media types, as with Docker.
DOCKER = """#!/bin/sh
buildah="buildah --root $BUILD_STORAGE/root --runroot $BUILD_STORAGE/run --storage-driver vfs"
if [ "$DOCKER_HOST" = none ]; then
    echo "Cannot connect to the Docker daemon. Is the docker daemon running?" >&2
    exit 1
fi
verb=$1
shift
case "$verb" in
build) exec $buildah bud --isolation chroot --format docker "$@" ;;
push) exec $buildah push --format v2s2 --digestfile "$BUILD_FOLDER/digest" "$@" ;;
login) exec $buildah login "$@" ;;
*) echo "docker: the sandbox has no '$verb'" >&2 && exit 1 ;;
esac
"""
AWS = """#!/bin/sh
[ "$1 $2" = "ecr get-login-password" ] || { echo "aws: the sandbox has no '$1 $2'" >&2; exit 1; }
echo "$BUILD_ECR_PASSWORD"
"""


@dataclass
class Build:
    """One build. Its ``folder`` holds ``log``, ``work`` (where commands run) and, once pushed, ``digest``."""

    id: str
    folder: Path
    deadline: float
    returncode: int | None = None
    cancelled: bool = False
    process: subprocess.Popen[bytes] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def state(self) -> State:
        """How it stands."""
        if self.returncode is None:
            return "running"
        if self.cancelled:
            return "cancelled"
        return "failed" if self.returncode else "succeeded"

    @property
    def log(self) -> bytes:
        """All that it wrote so far."""
        path = self.folder / "log"
        return path.read_bytes() if path.exists() else b""

    @property
    def digest(self) -> str:
        """Digest of the image that it pushed last."""
        return (self.folder / "digest").read_text().strip()

    def cancel(self) -> None:
        """End it: politely first, then not."""
        with self.lock:
            if self.returncode is None:
                self.cancelled = True
                _end(self.process)


class Builds:
    """All builds of one service. ``env`` leads to the registries: a proxy, and the authority to trust."""

    def __init__(self, home: Path, env: Mapping[str, str]) -> None:
        self._home = home
        self._env = dict(env)
        self._all: dict[str, Build] = {}
        _tool(home / "bin" / "docker", DOCKER)
        _tool(home / "bin" / "aws", AWS)

    def start(
        self,
        name: str,
        prepare: Callable[[Path], Sequence[str]],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 3600,
    ) -> Build:
        """Begin a build: ``prepare`` fills the folder that it gets and returns the shell commands to run in it."""
        folder = self._home / re.sub(r"\W", "_", name)[-80:]
        (folder / "work").mkdir(parents=True)
        build = Build(name, folder, time.monotonic() + timeout)
        self._all[name] = build
        threading.Thread(target=self._run, args=(build, prepare, dict(env or {})), daemon=True).start()
        return build

    def get(self, name: str) -> Build | None:
        """The build called ``name``."""
        return self._all.get(name)

    def _run(self, build: Build, prepare: Callable[[Path], Sequence[str]], env: dict[str, str]) -> None:
        returncode = 1
        try:
            with (build.folder / "log").open("ab", buffering=0) as log:
                try:
                    returncode = self._work(build, prepare(build.folder / "work"), env, log.fileno())
                except (OSError, subprocess.SubprocessError, tarfile.TarError, ValueError, KeyError) as error:
                    log.write(f"ERROR: {error}\n".encode())
        finally:
            build.returncode = returncode

    def _work(self, build: Build, commands: Sequence[str], env: dict[str, str], log: int) -> int:
        script = "\n".join(["set -e", *commands])
        with build.lock:
            if build.cancelled:
                return 1
            build.process = subprocess.Popen(
                ["/bin/sh", "-c", script], cwd=build.folder / "work", env=self._environment(build, env),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            return build.process.wait(max(0, build.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.write(log, b"ERROR: the build did not end within its time limit\n")
            _end(build.process)
            return build.process.wait() or 1

    def _environment(self, build: Build, env: dict[str, str]) -> dict[str, str]:
        passed = {name: os.environ[name] for name in ("LANG", "TRIPLANE_SANDBOX_ID") if name in os.environ}
        return {
            **passed,
            **self._env,
            "PATH": f"{self._home / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "HOME": str(build.folder),
            "TMPDIR": str(build.folder),
            "REGISTRY_AUTH_FILE": str(build.folder / "auth.json"),
            "BUILD_STORAGE": str(self._home / "storage"),
            "BUILD_FOLDER": str(build.folder),
            **env,
        }


def environment(proxy: str, ca_file: str) -> dict[str, str]:
    """What leads a build to the sandbox's registries by their real names."""
    return {"HTTPS_PROXY": proxy, "NO_PROXY": "127.0.0.1,localhost", "SSL_CERT_FILE": ca_file}


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar, compressed or not."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


def login(registry: str, user: str, variable: str) -> str:
    """The command that logs in with the password in an environment variable."""
    return f'echo "${variable}" | docker login --username {shlex.quote(user)} --password-stdin {shlex.quote(registry)}'


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _tool(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
