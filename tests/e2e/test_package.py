"""The package as people install it: built, and put into a clean environment beside a plain Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from triplane import __version__
from triplane.sandbox.install_tools import find_uv
from triplane.sandbox.runtime import default_cache

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    call(find_uv(default_cache()), "build", "--quiet", "--out-dir", str(folder), str(ROOT))
    return folder


def test_the_wheel_has_types_licence_and_notice(built: Path) -> None:
    (wheel,) = built.glob(f"airflow_provider_triplane-{__version__}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"airflow_provider_triplane-{__version__}.dist-info/METADATA").decode()
    assert "triplane/py.typed" in names
    licences = {name.rpartition("/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    assert "License-Expression: Apache-2.0" in metadata
    assert {name.partition("/")[0] for name in names} == {
        "triplane",
        f"airflow_provider_triplane-{__version__}.dist-info",
    }


def test_the_source_distribution_has_what_it_takes_to_build_and_test(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    wanted = {
        "CHANGELOG.md",
        "Dockerfile",
        "LICENSE",
        "Makefile",
        "NOTICE",
        "docker-compose.yaml",
        "pyproject.toml",
    }
    assert wanted | {"dags", "docker", "docs", "examples", "operators", "scripts", "tests", "uv.lock"} <= top


def test_the_changelog_has_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_interpreter_that_is_promised_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {name.rpartition(" ")[2] for name in project["classifiers"] if "Python :: 3." in name}
    assert project["requires-python"] == ">=3.11.4,<3.14"
    assert named == {"3.11", "3.12", "3.13"}


@pytest.mark.campaign
def test_a_clean_environment(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    uv, python = find_uv(default_cache()), tmp_path / "venv" / "bin" / "python"
    call(uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv"))
    call(uv, "pip", "install", "--quiet", "--python", str(python), str(wheel))
    home = {"AIRFLOW_HOME": str(tmp_path / "home"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}

    providers = call(str(python.with_name("airflow")), "providers", "list", "--output", "plain", env=home)
    assert any(
        line.split()[0] == "airflow-provider-triplane" and line.split()[-1] == __version__
        for line in providers.splitlines()
        if line.strip()
    )
    options = call(
        str(python.with_name("airflow")), "config", "list", "--section", "triplane", "--defaults", env=home
    )
    assert {"artifact_store", "artifact_key", "signing_key", "platform"} <= set(
        options.replace("=", " ").split()
    )

    spec = ROOT / "examples" / "streaming-platform" / "platform.yaml"
    call(str(python.with_name("triplane")), "validate", str(spec), env=home)
    helped = call(str(python.with_name("triplane")), "--help", env=home)
    assert "deploy" in helped


def call(*argv: str, env: Mapping[str, str] | None = None) -> str:
    """The output of a command, which must succeed; the environment leads to no installation but its own."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHONPATH"))
    }
    done = subprocess.run(argv, env={**kept, **(env or {})}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv[:4])}: {done.stdout[-1500:]}{done.stderr[-3000:]}"
    return done.stdout
