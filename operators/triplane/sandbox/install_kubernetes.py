"""Builds the Kubernetes control plane from Debian's source package, once."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from triplane.sandbox.install_tools import InstallError, install_binary, run

BINARIES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
GO = "golang-1.19-go"
APT = Path("/etc/apt")


def build_kubernetes(cache: Path, on_progress: Callable[[str], None]) -> None:
    """Put the control plane's programs into ``<cache>/bin``: found on PATH, or built from source.

    The source comes from where this machine's own apt gets its packages; apt's settings and lists are not
    touched. Takes some minutes and 2 GB, which are given back at the end.
    """
    found = [shutil.which(name) for name in BINARIES]
    if all(found):
        for path in found:
            assert path
            _link(Path(path), cache / "bin")
        return
    build = cache / "build"
    source = build / "kubernetes-src"
    output = source / "_output/local/go/bin"
    if not all((output / name).exists() for name in BINARIES):
        _fetch(cache, build, source, on_progress)
        _compile(cache, source, on_progress)
    for name in BINARIES:
        install_binary((output / name).read_bytes(), cache / "bin" / name)
    shutil.rmtree(build)


def _fetch(cache: Path, build: Path, source: Path, on_progress: Callable[[str], None]) -> None:
    log = cache / "logs" / "kubernetes.log"
    build.mkdir(parents=True, exist_ok=True)
    apt = _private_apt(build / "apt", APT)
    on_progress("kubernetes: fetching Debian's source package ...")
    run(("apt-get", *apt, "update"), log=log)
    run(("apt-get", *apt, "source", "--download-only", "kubernetes"), log=log, cwd=build)
    description = next(iter(sorted(build.glob("kubernetes_*.dsc"))), None)
    if description is None:
        raise InstallError("this distribution has no source package `kubernetes`")
    shutil.rmtree(source, ignore_errors=True)
    run(
        ("dpkg-source", "--no-check", "--skip-patches", "-x", description.name, str(source)),
        log=log,
        cwd=build,
    )


def _compile(cache: Path, source: Path, on_progress: Callable[[str], None]) -> None:
    log = cache / "logs" / "kubernetes.log"
    go = Path("/usr/lib/go-1.19/bin")
    if not go.exists():
        root = ("sudo", "-n") if os.geteuid() else ()
        on_progress(f"installing {GO} ...")
        run((*root, "apt-get", "install", "-y", "--no-install-recommends", GO), log=log)
    on_progress("kubernetes: building the control plane (4 to 10 minutes, once) ...")
    env = {
        "PATH": f"{go}:{os.environ.get('PATH', os.defpath)}",
        "CGO_ENABLED": "0",
        "GOFLAGS": "-tags=providerless",
        "GOCACHE": str(source / "_output/cache"),
    }
    targets = " ".join(f"cmd/{name}" for name in BINARIES)
    run(("make", f"WHAT={targets}"), log=log, cwd=source, env=env)


def _private_apt(directory: Path, etc: Path) -> tuple[str, ...]:
    """Options that make apt use source entries copied from ``etc``, with lists of its own in ``directory``."""
    parts, lists = directory / "sources.list.d", directory / "lists"
    for each in (parts, lists / "partial"):
        each.mkdir(parents=True, exist_ok=True)
    for file in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if file.suffix in (".list", ".sources") and file.is_file():
            (parts / file.name).write_text(source_entries(file.read_text(), deb822=file.suffix == ".sources"))
    return (
        "-o", "Dir::Etc::SourceList=/dev/null", "-o", f"Dir::Etc::SourceParts={parts}",
        "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={directory}", "-o", "APT::Sandbox::User=",
    )  # fmt: skip


def source_entries(text: str, *, deb822: bool) -> str:
    """Entries for source packages of the same archives as the entries for binary packages in ``text``."""
    if deb822:
        return re.sub(r"(?m)^Types:.*$", "Types: deb-src", text)
    entries = [line.replace("deb", "deb-src", 1) for line in text.splitlines() if line.startswith("deb ")]
    return "".join(f"{line}\n" for line in entries)


def _link(program: Path, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / program.name
    target.unlink(missing_ok=True)
    target.symlink_to(program)
