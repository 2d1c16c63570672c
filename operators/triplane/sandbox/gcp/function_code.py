"""The code of a function: unpacked and looked at as Google's builder does, and called in a process of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from triplane.sandbox.gcp.state import Body

Finish = Callable[[], Body]
WORKER = Path(__file__).with_name("function_worker.py")
CALL_SECONDS = 30.0
MAX_UNPACKED = 512 << 20
# What the builder of a language wants to see; of the others any package is taken.
ENTRY_FILES = {
    "python": (
        ("main.py",),
        "missing main.py and GOOGLE_FUNCTION_SOURCE not specified. Either create the function in main.py or "
        "specify GOOGLE_FUNCTION_SOURCE to point to the file that contains the function; Error ID: 5c04ec9c",
    ),
    "nodejs": (
        ("index.js", "function.js", "package.json"),
        "function.js does not exist; Error ID: 7485c5b6",
    ),
    "go": (("go.mod",), "go.mod file is missing; Error ID: 2f5ec5f4"),
}


def unpack(package: bytes, root: Path, runtime: str) -> str | None:
    """Unpack a package below ``root``. Returns why the build fails, None when it does not."""
    root.mkdir(parents=True, mode=0o700)
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
                return "the source is larger than 512 MB"
            archive.extractall(root)
    except zipfile.BadZipFile:
        return "failed to extract the source: zip: not a valid zip file; Error ID: d6b3a4c1"
    names, reason = ENTRY_FILES.get(runtime.rstrip("0123456789"), ((), ""))
    if names and not any((root / name).is_file() for name in names):
        return reason
    return None


def failure(root: Path, runtime: str, entry_point: str, env: Iterable[Body]) -> tuple[str, list[str]]:
    """Why the function does not start, and its log; "" when it does, or is not Python and so cannot be tried here."""
    if not runtime.startswith("python"):
        return "", []
    found = _worker(root, entry_point, environment(env), {"check": True})
    return str(found.get("failure") or ""), found["log"]


def call(root: Path, entry_point: str, env: Iterable[Body], request: Mapping[str, Any]) -> dict[str, Any]:
    """``{"status", "headers", "body", "log"}`` of one HTTP request (bodies in Base64)."""
    return _worker(root, entry_point, environment(env), request)


def environment(variables: Iterable[Body]) -> dict[str, str]:
    """A container's plain variables; of secrets only their names, there is no Secret Manager here."""
    return {each["name"]: each.get("value", "") for each in variables}


def _worker(root: Path, entry_point: str, env: dict[str, str], message: Mapping[str, Any]) -> dict[str, Any]:
    argv = [sys.executable, str(WORKER), entry_point]
    own = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONDONTWRITEBYTECODE": "1", **env}
    try:
        done = subprocess.run(
            argv, cwd=root, env=own, input=json.dumps(message).encode(), capture_output=True,
            timeout=CALL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"failure": f"no answer within {CALL_SECONDS:g} s", "status": 504, "log": []}
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode:
        told = lines[-1] if lines else f"ended with {done.returncode}"
        return {"failure": told, "status": 500, "log": lines}
    return {**json.loads(done.stdout), "log": lines}
