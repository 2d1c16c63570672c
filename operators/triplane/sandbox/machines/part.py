"""Machines for each cloud, known to the example by Airflow Variables."""

from __future__ import annotations

import json
from pathlib import Path

from triplane.core.private import write_private
from triplane.sandbox.machines.machine import Machine, key_pair
from triplane.sandbox.service import Context, Route, Service

COUNTS = {"aws": 2, "gcp": 1, "azure": 1}
"""Cloud -> how many machines it has."""


class MachinesPart:
    """``AIRFLOW_VAR_STREAMING_MACHINES_<CLOUD>`` are the hosts of a cloud, ``…_SSH_KEY`` is the key for all of them."""

    name = "machines"

    def prepare(self, ctx: Context) -> None:
        private, public = key_pair()
        _folder(ctx).mkdir()
        write_private(_folder(ctx) / "key", private)
        for machine in machines(ctx):
            machine.prepare(public)

    def services(self, ctx: Context) -> list[Service]:
        return [machine.service() for machine in machines(ctx)]

    def routes(self, ctx: Context) -> list[Route]:
        return []

    def environ(self, ctx: Context) -> dict[str, str]:
        hosts = {
            f"AIRFLOW_VAR_STREAMING_MACHINES_{cloud.upper()}": json.dumps(
                {machine.name: machine.host() for machine in machines(ctx, cloud)}
            )
            for cloud in COUNTS
        }
        key = (_folder(ctx) / "key").read_text()
        collections = {"ANSIBLE_COLLECTIONS_PATH": str(ctx.cache)}
        return {**hosts, "AIRFLOW_VAR_STREAMING_SSH_KEY": key, **collections}

    def seed(self, ctx: Context) -> None: ...


def machines(ctx: Context, cloud: str | None = None) -> list[Machine]:
    """The machines of a cloud, or of all."""
    names = [
        f"{each}-worker-{number + 1}"
        for each, count in COUNTS.items()
        if cloud in (None, each)
        for number in range(count)
    ]
    return [Machine(name, _folder(ctx) / name, ctx.port(f"machine-{name}")) for name in names]


def _folder(ctx: Context) -> Path:
    return ctx.home / "machines"


PART = MachinesPart()
