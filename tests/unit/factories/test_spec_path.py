"""Where the factories look for the platform spec."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

SMALL = Path(__file__).parents[3] / "examples" / "streaming-platform" / "platform.yaml"
DAG = """
from triplane.factories.cloud import cloud_dag

def make():
    return cloud_dag("aws"{argument})

dag = make()
"""


def parsed(folder: Path, argument: str = "") -> Any:
    """The folder that the DAG of a DAG file deploys."""
    file = folder / "dags" / "deploy_aws.py"
    file.parent.mkdir(parents=True)
    file.write_text(DAG.format(argument=argument))
    shutil.copy(SMALL, folder / "platform.yaml")
    freeze = runpy.run_path(str(file))["dag"].get_task("freeze")
    return Path(freeze.folder)


def test_a_relative_setting_starts_at_the_dag_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__PLATFORM", "../platform.yaml")
    monkeypatch.chdir(tmp_path)
    assert parsed(tmp_path / "one") == tmp_path / "one"
    assert parsed(tmp_path / "two") == tmp_path / "two"


def test_a_relative_argument_starts_at_the_dag_file(tmp_path: Path) -> None:
    assert parsed(tmp_path / "repository", ', "../platform.yaml"') == tmp_path / "repository"


def test_an_absolute_setting_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__PLATFORM", str(SMALL))
    assert parsed(tmp_path) == SMALL.parent
