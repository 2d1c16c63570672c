"""The Python packages that a function needs, installed for the platform it will run on.

They are named by ``requirements.txt``, else by ``[project] dependencies`` of ``pyproject.toml``. Only wheels are taken,
so nothing is built and no code of a package runs here. pip's own settings say which index is asked. Versions that are
not pinned are those of the day on which they were first installed on this machine: pin them, with hashes.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from triplane.core import files, private, process
from triplane.core.digest import digest
from triplane.core.errors import InputError, ToolError, TransientError
from triplane.serverless.archive import pack

INSTALL_SECONDS: Final = 600.0
KEPT_SECONDS: Final = 30 * 24 * 3600.0
OUTPUT_LIMIT: Final = 50_000_000
# What pip writes for itself: it differs from machine to machine, and nobody reads it in a function.
_LEFT_OUT: Final = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
_NO_NETWORK: Final = ("Retrying (Retry(", "Could not fetch URL", "Connection refused", "ReadTimeoutError")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be installed. ``files`` holds the requirement files, the first one names the others."""

    folder: Path
    files: tuple[tuple[str, str], ...]
    platforms: tuple[str, ...]
    python: str

    @property
    def key(self) -> str:
        """Names the result; the folder does not count."""
        return digest([self.files, self.platforms, self.python]).removeprefix("sha256:")


def wanted(folder: Path, platform: str | Sequence[str], python: str) -> Wanted | None:
    """What ``folder`` needs, None if nothing. :raises InputError: it cannot be read, or names what is on this machine"""
    platforms = (platform,) if isinstance(platform, str) else tuple(platform)
    found = dict(_requirements(folder, "requirements.txt")) or _project(folder)
    if not any(_lines(text) for text in found.values()):
        return None
    if not re.fullmatch(r"3\.\d+", python):
        raise InputError(f"{folder}: its dependencies need a Python version like 3.13, not {python!r}")
    return Wanted(folder=folder, files=tuple(found.items()), platforms=platforms, python=python)


def install(
    wanted: Wanted, *, timeout: float = INSTALL_SECONDS, log: Callable[[str], None] | None = None
) -> bytes:
    """The archive of the dependencies, from the last time if it was made on this machine before.

    :raises InputError: there is no wheel, versions conflict, or hashes do not fit
    :raises TransientError: the index cannot be reached
    :raises ToolTimeout: it took longer than ``timeout`` seconds
    """
    kept = private.user_dir("packages") / f"{wanted.key}.zip"
    if kept.is_file():
        os.utime(kept)
        return kept.read_bytes()
    with process.private_dir() as scratch:
        data = _install(wanted, scratch, timeout, log)
    files.replace(kept, data)
    _forget(kept.parent)
    return data


def arguments(wanted: Wanted, target: Path, requirements: Path) -> list[str]:
    """What pip is called with."""
    platforms = [word for each in wanted.platforms for word in ("--platform", each)]
    return [
        *("install", "--target", str(target), *platforms, "--python-version", wanted.python),
        *("--implementation", "cp", "--only-binary=:all:", "--no-compile", "--ignore-installed"),
        *("--no-input", "--no-color", "--progress-bar", "off", "--disable-pip-version-check"),
        *("--requirement", str(requirements)),
    ]


def pip() -> list[str]:
    """How pip is called: that of this Python, else the one on PATH."""
    return [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else ["pip"]


def _install(wanted: Wanted, scratch: Path, timeout: float, log: Callable[[str], None] | None) -> bytes:
    target = scratch / "target"
    for name, text in wanted.files:
        (scratch / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        private.write_private(scratch / "in" / name, text)
    passed = [name for name in os.environ if name.startswith("PIP_")]
    command = process.Command(
        argv=(*pip(), *arguments(wanted, target, scratch / "in" / wanted.files[0][0])),
        env=process.tool_env(*passed, PYTHONDONTWRITEBYTECODE="1"),
        cwd=scratch,
        max_output=OUTPUT_LIMIT,
        name="pip",
    )
    try:
        process.run(command, on_line=log, timeout=timeout)
    except ToolError as error:
        raise explained(error, wanted) from error
    found = {}
    for file in sorted(each for each in target.rglob("*") if each.is_file()):
        name = file.relative_to(target).as_posix()
        if _counts(name):
            found[name] = (bool(file.stat().st_mode & 0o100), file.read_bytes())
    return pack(found)


def explained(error: ToolError, wanted: Wanted) -> Exception:
    """What went wrong with pip, as one of our errors."""
    said, where = error.stderr, f"{wanted.folder}: its dependencies"
    if type(error) is not ToolError:
        return error
    if any(sign in said for sign in _NO_NETWORK):
        return TransientError(f"{where} cannot be had, the package index does not answer: {_last(said)}")
    if "ResolutionImpossible" in said or "conflicting dependencies" in said:
        conflict = re.search(r"The conflict is caused by:\n((?:[ \t]+\S.*\n?)+)", said)
        told = " ".join(conflict[1].split()) if conflict else _last(said)
        return InputError(f"{where} contradict each other: {told}")
    if "HASH" in said or "--require-hashes" in said or "hashes" in said:
        return InputError(f"{where} do not have the hashes that are written there: {_last(said)}")
    if missing := re.search(r"No matching distribution found for (\S.*)", said):
        platforms = " or ".join(wanted.platforms)
        return InputError(
            f"{where}: there is no wheel of {missing[1].strip()} for {platforms} and Python {wanted.python}; take "
            "another version, or build an image"
        )
    return InputError(f"{where} cannot be installed: {_last(said)}")


def _last(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("WARNING")]
    return " ".join(lines[-3:]) if lines else "pip said nothing"


def _counts(name: str) -> bool:
    """Whether a file of an installed package belongs into the function; scripts name this machine's Python."""
    parts = name.split("/")
    if parts[0] == "bin" or "__pycache__" in parts or name.endswith(".pyc"):
        return False
    return not (len(parts) == 2 and parts[0].endswith(".dist-info") and parts[1] in _LEFT_OUT)


def _requirements(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    """A requirements file and those that it includes. :raises InputError: something outside of the folder"""
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{file}: requirements are read from inside of the folder only")
    if not file.is_file():
        if name != "requirements.txt":
            raise InputError(f"{file}: this file does not exist")
        return
    text = file.read_text()
    yield name, text
    for line in _lines(text):
        local = line.startswith(("-e", "--editable", ".", "/")) or "file:" in line
        if local:
            raise InputError(f"{file}: {line}: what is on this machine only cannot be installed")
        if include := re.match(r"(?:-r|-c|--requirement|--constraint)[ =]*(\S+)", line):
            yield from _requirements(folder, (Path(name).parent / include[1]).as_posix())


def _project(folder: Path) -> dict[str, str]:
    file = folder / "pyproject.toml"
    if not file.is_file():
        return {}
    try:
        named = tomllib.loads(file.read_text()).get("project", {}).get("dependencies", [])
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: {error}") from error
    return {"requirements.txt": "".join(f"{each}\n" for each in sorted(named))} if named else {}


def _lines(text: str) -> list[str]:
    stripped = (line.partition(" #")[0].strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def _forget(folder: Path) -> None:
    """Remove what nobody has asked for in a long time."""
    for file in folder.glob("*.zip"):
        try:
            if time.time() - file.stat().st_mtime > KEPT_SECONDS:
                file.unlink()
        except FileNotFoundError:
            continue
