"""The provider's metadata is what Airflow accepts."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import jsonschema

from triplane.provider import get_provider_info


def test_info_fits_airflows_own_schema() -> None:
    schema = json.loads((files("airflow") / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_entry_points_are_registered() -> None:
    (entry,) = (e for e in entry_points(group="apache_airflow_provider") if e.module.startswith("triplane"))
    assert entry.load()()["package-name"] == "airflow-provider-triplane"
    assert any(e.name == "triplane" for e in entry_points(group="console_scripts"))


def test_airflow_lists_the_provider(tmp_path: Path) -> None:
    airflow = Path(sys.executable).with_name("airflow")
    done = subprocess.run(
        [airflow, "providers", "list", "--output", "json"],
        env={"PATH": str(airflow.parent), "HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    names = [row["package_name"] for row in json.loads(done.stdout[done.stdout.index("[") :])]
    assert "airflow-provider-triplane" in names
