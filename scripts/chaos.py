"""Kill campaigns: ``chaos NAME KILLS BAD``, one line for each backend; ends with 1 if anything was bad.

``KILLS`` (50), ``BACKENDS`` (all), ``SEED`` and ``LOG`` (a file for what the tasks log) come from the environment.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.chaos.harness import BACKENDS, campaign, slow_cloud

from triplane.sandbox.runtime import Sandbox, default_cache


def main() -> int:
    """Run all campaigns on one sandbox."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(os.environ.get("LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    kills = int(os.environ.get("KILLS", "50"))
    seed = int(os.environ.get("SEED", "0")) or int.from_bytes(os.urandom(3), "big")
    wanted = os.environ.get("BACKENDS", " ".join(BACKENDS)).split()
    os.environ["AIRFLOW__TRIPLANE__ARTIFACT_KEY"] = Fernet.generate_key().decode()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="triplane-") as directory:
        sandbox = Sandbox.up(
            Path(directory) / "sandbox", ("aws", "gcp", "azure", "terraform"), on_progress=lambda line: None
        )
        try:
            os.environ.update(sandbox.environ())
            with slow_cloud(default_cache() / "venvs" / "terraform-provider" / "bin" / "python") as cloud:
                for backend in wanted:
                    verdicts = campaign(backend, kills, seed, cloud, say=out.write)
                    wrong = sum(bool(verdict.bad) for verdict in verdicts)
                    asked = sum(verdict.asked for verdict in verdicts)
                    freed = sum(verdict.explained for verdict in verdicts)
                    print(f"chaos terraform_{backend} {kills} {wrong}", file=out)
                    print(f"  seed {seed}, asked again {asked}, locks explained {freed}", file=out)
                    bad += wrong
        finally:
            sandbox.down()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
