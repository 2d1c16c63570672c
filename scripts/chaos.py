"""Kill campaigns: ``chaos NAME KILLS BAD``, one line for each; ends with 1 if anything was bad.

``terraform_<backend>`` kills applies, ``parent`` kills Airflow's scheduler, its API server and tasks during runs of the
parent DAG. ``CAMPAIGNS`` (``terraform parent``), ``KILLS`` (50 of each backend), ``PARENT_KILLS`` (9), ``BACKENDS``
(all), ``SEED`` and ``LOG`` (a file for what the tasks log) come from the environment.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TextIO

from cryptography.fernet import Fernet

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.chaos.harness import BACKENDS, campaign, slow_cloud
from tests.chaos.parent import PATIENT, ParentTrials
from tests.chaos.parent import campaign as parent_campaign
from tests.e2e.deployment.small import DAGS, SmallPlatform

from triplane.sandbox.airflow import LocalAirflow
from triplane.sandbox.runtime import Sandbox, default_cache

PARTS = ("aws", "gcp", "azure", "terraform")
ENVIRONMENT = "chaos"


def main() -> int:
    """Run all campaigns on one sandbox."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(os.environ.get("LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    campaigns = {"terraform": terraform, "parent": parent}
    os.environ["AIRFLOW__TRIPLANE__ARTIFACT_KEY"] = Fernet.generate_key().decode()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="triplane-") as directory:
        sandbox = Sandbox.up(Path(directory) / "sandbox", PARTS, on_progress=lambda line: None)
        try:
            os.environ.update(sandbox.environ())
            for name in os.environ.get("CAMPAIGNS", " ".join(campaigns)).split():
                bad += campaigns[name](sandbox, Path(directory), out)
        finally:
            sandbox.down()
    return 1 if bad else 0


def terraform(sandbox: Sandbox, home: Path, out: TextIO) -> int:
    """Kill applies on every backend; how many kills led to what must not be."""
    kills = int(os.environ.get("KILLS", "50"))
    seed = int(os.environ.get("SEED", "0")) or int.from_bytes(os.urandom(3), "big")
    wanted = os.environ.get("BACKENDS", " ".join(BACKENDS)).split()
    bad = 0
    with slow_cloud(default_cache() / "venvs" / "terraform-provider" / "bin" / "python") as cloud:
        for backend in wanted:
            verdicts = campaign(backend, kills, seed, cloud, say=out.write)
            wrong = sum(bool(verdict.bad) for verdict in verdicts)
            asked = sum(verdict.asked for verdict in verdicts)
            freed = sum(verdict.explained for verdict in verdicts)
            print(f"chaos terraform_{backend} {kills} {wrong}", file=out)
            print(f"  seed {seed}, asked again {asked}, locks explained {freed}", file=out)
            bad += wrong
    return bad


def parent(sandbox: Sandbox, home: Path, out: TextIO) -> int:
    """Kill Airflow's parts and tasks during runs of the parent DAG; how many runs did not end as they must."""
    kills = int(os.environ.get("PARENT_KILLS", "9"))
    platform = SmallPlatform(home / "small" / "platform", {ENVIRONMENT: {}})
    airflow = LocalAirflow(
        home / "airflow",
        dags=DAGS,
        platform=platform.spec,
        environ={
            **sandbox.environ(),
            **PATIENT,
            "SMALL_PLATFORM": str(platform.spec),
            "TOLD_PLATFORM": str(platform.spec),
        },
        port=sandbox.port("airflow"),
    )
    try:
        airflow.start()
        airflow.wait_for_dags("small_deploy", "small_deploy_aws", "small_deploy_gcp", "small_deploy_azure")
        wrong = 0
        for verdict in parent_campaign(ParentTrials(airflow, platform, ENVIRONMENT), kills):
            (kill,) = verdict.kills
            said = "; ".join(verdict.bad) or "ended right"
            print(f"  {kill[1]} killed in phase {kill[0]}: {said}, {verdict.seconds:.0f} s", file=out)
            wrong += bool(verdict.bad)
    finally:
        airflow.stop()
    print(f"chaos parent {kills} {wrong}", file=out)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
