"""What a sandbox must remember: its id, ports, secrets and processes, in ``<home>/sandbox.json`` (0600)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import secrets
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from triplane.sandbox.ca import write_private
from triplane.sandbox.processes import Process, start_time

FILE = "sandbox.json"
# Below the range from which the kernel takes the ports of outgoing connections, so that none is lost to one.
PORTS = range(18000, 32000)


class State:
    """The state file. Every change is made under a lock on the file, so processes may share it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._file = home / FILE

    @property
    def exists(self) -> bool:
        return self._file.exists()

    def create(self, parts: list[str]) -> None:
        """Start with an empty state for a sandbox of ``parts``. FileExistsError if there is one."""
        starter = Process(os.getpid(), start_time(os.getpid()) or 0)
        state = {"id": secrets.token_hex(16), "starter": asdict(starter), "parts": parts, "ready": False}
        with self._locked():
            if self.exists:
                raise FileExistsError(f"{self._file} exists")
            self._write({**state, "ports": {}, "secrets": {}, "processes": {}})

    def read(self) -> dict[str, Any]:
        """The whole state. FileNotFoundError if there is no sandbox here."""
        state: dict[str, Any] = json.loads(self._file.read_text())
        return state

    def set(self, key: str, value: object) -> None:
        with self._locked():
            self._write({**self.read(), key: value})

    def port(self, name: str) -> int:
        """The port of ``name``; a free one is chosen the first time."""
        known = self.read()["ports"].get(name)
        if known is None:
            with self._locked():
                state = self.read()
                known = state["ports"].setdefault(name, 0) or _free_port(set(state["ports"].values()))
                state["ports"][name] = known
                self._write(state)
        return int(known)

    def secret(self, name: str) -> str:
        """The secret of ``name``, 64 hex digits; made the first time."""
        known = self.read()["secrets"].get(name)
        if known is None:
            with self._locked():
                state = self.read()
                known = state["secrets"].setdefault(name, secrets.token_hex(32))
                self._write(state)
        return str(known)

    @property
    def starter(self) -> Process:
        """Whoever called ``up``."""
        return Process(**self.read()["starter"])

    def processes(self) -> dict[str, Process]:
        return {name: Process(**fields) for name, fields in self.read()["processes"].items()}

    def add_process(self, name: str, process: Process) -> None:
        with self._locked():
            state = self.read()
            state["processes"][name] = asdict(process)
            self._write(state)

    def _write(self, state: dict[str, Any]) -> None:
        write_private(self._file, json.dumps(state, indent=1).encode())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.home / "sandbox.lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _free_port(taken: set[int]) -> int:
    for port in random.sample(PORTS, len(PORTS)):
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"no free port between {PORTS.start} and {PORTS.stop}")
