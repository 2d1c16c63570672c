"""Warm working directories: initialized once, held by one task at a time, without secrets."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.terraform_lab import (
    SECRET,
    SIMPLE,
    Lab,
    in_background,
)
from triplane.core import private
from triplane.core.errors import ToolError
from triplane.terraform import cli, warm
from triplane.terraform.operators import TerraformPlanOperator

AWS = """
terraform {
  backend "local" {}
}
provider "aws" {
  region = "eu-west-1"
}
resource "aws_vpc" "x" {
  cidr_block = "10.0.0.0/16"
}
"""


@pytest.fixture
def inits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """The directories in which ``init`` was run, with a cache of their own."""
    monkeypatch.setattr(private.tempfile, "gettempdir", lambda: str(tmp_path))
    found: list[Path] = []
    real = cli.Terraform.init

    def init(self: cli.Terraform, *args: Any) -> None:
        found.append(self.directory)
        real(self, *args)

    monkeypatch.setattr(cli.Terraform, "init", init)
    return found


def places(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.glob("triplane-*/workspaces/*/*"))


def test_a_stack_is_initialized_once(lab: Lab, inits: list[Path]) -> None:
    lab.apply(lab.plan())
    lab.plan()
    assert len(inits) == 1


def test_another_source_or_backend_is_initialized_again(lab: Lab, inits: list[Path]) -> None:
    lab.plan()
    lab.stack("network", SIMPLE + "# changed\n")
    lab.plan()
    lab.plan(backend={"path": str(lab.home / "elsewhere.tfstate")})
    assert len(set(inits)) == 3


@pytest.mark.parametrize("damage", ["stamp", ".terraform", "copied"])
def test_what_is_damaged_is_made_anew(
    lab: Lab,
    inits: list[Path],
    tmp_path: Path,
    damage: str,
) -> None:
    lab.plan()
    (place,) = places(tmp_path)
    found = {
        "stamp": place / "initialized",
        "copied": place / "copied",
        ".terraform": inits[0] / ".terraform",
    }
    found[damage].rename(tmp_path / "taken")
    assert lab.plan()["action"] == "create"
    assert len(inits) == 2


def test_no_secret_stays(
    lab: Lab, inits: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_DB_PASSWORD", SECRET)
    variables = {"password": "${variable.db_password}"}
    lab.apply(lab.plan(variables=variables), variables=variables)
    kept = [path for path in tmp_path.glob("triplane-*/**/*") if path.is_file()]
    assert kept
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("triplane-*"))


def test_two_at_once_get_two_places(lab: Lab, inits: list[Path], tmp_path: Path) -> None:
    lab.plan()
    slow = lab.kwargs()
    source = TerraformPlanOperator(**slow).stack_source()
    with TerraformPlanOperator(**slow).opened(source, {}) as first:
        with TerraformPlanOperator(**slow).opened(source, {}) as second:
            assert first.directory != second.directory
        assert lab.plan()["action"] == "create"
    assert len(places(tmp_path)) == 2
    assert len(inits) == 2


def test_old_places_are_removed_but_never_those_in_use(
    lab: Lab,
    inits: list[Path],
    tmp_path: Path,
) -> None:
    lab.stack("other", SIMPLE)
    lab.stack("third", SIMPLE)
    lab.plan("other")
    used = TerraformPlanOperator(**lab.kwargs())
    with used.opened(used.stack_source(), {}) as stack:
        for place in places(tmp_path):
            os.utime(place.parent, (0, time.time() - 2 * warm.KEPT_SECONDS))
        lab.plan("third")
        assert stack.directory.exists()
    left = [path.name for place in places(tmp_path) for path in (place / "source").iterdir()]
    assert sorted(left) == ["network", "other", "third"] * 2 or len(places(tmp_path)) == 2


def test_only_the_sources_own_lock_file_pins_providers(
    lab: Lab, inits: list[Path], cloud_env: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def init(**more: Any) -> Path:
        operator = TerraformPlanOperator(**lab.kwargs(**more))
        with operator.opened(operator.stack_source(), {}) as stack:
            return stack.directory / ".terraform.lock.hcl"

    lab.stack("network", AWS)
    lock = init()
    good = lock.read_text()
    other = re.sub(r"(h1|zh):[^\"]+", lambda match: f"{match[1]}:{'A' * 43}=", good)
    lock.write_text(other)
    config = tmp_path / "other.tfrc"
    config.write_text(Path(os.environ["TF_CLI_CONFIG_FILE"]).read_text())
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(config))
    assert init().read_text() == good
    assert len(inits) == 2
    (lab.home / "infra" / "network" / ".terraform.lock.hcl").write_text(other)
    with pytest.raises(ToolError, match="checksums previously recorded in the dependency lock file"):
        init()


def test_parallel_cold_inits_share_a_plugin_cache(
    lab: Lab, inits: list[Path], cloud_env: Any, tmp_path: Path
) -> None:
    os.environ["TF_PLUGIN_CACHE_DIR"] = str(tmp_path / "plugins")
    try:
        names = [f"s{index}" for index in range(12)]
        for name in names:
            lab.stack(name, AWS)
        failed: list[BaseException] = []

        def prepare(name: str) -> None:
            operator = TerraformPlanOperator(**lab.kwargs(name))
            with operator.opened(operator.stack_source(), {}) as stack:
                stack.terraform._run(("validate", "-json"), quiet=True)

        threads = [in_background(lab, lambda name=name: prepare(name), failed) for name in names]
        for thread in threads:
            thread.join(300)
        assert "\n".join(str(error) for error in failed) == ""
        assert len(inits) == 12
    finally:
        del os.environ["TF_PLUGIN_CACHE_DIR"]
