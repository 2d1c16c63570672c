from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from triplane.sandbox.terraform import HOSTS, VERSIONS, lay_out_mirror, platform

MAIN = """
terraform {{
  required_providers {{
    aws     = {{ source = "{host}/hashicorp/aws" }}
    azurerm = {{ source = "{host}/hashicorp/azurerm" }}
    google  = {{ source = "{host}/hashicorp/google" }}
  }}
}}
"""


def test_every_provider_has_a_launcher(tmp_path: Path) -> None:
    lay_out_mirror(tmp_path / "terraform", Path(sys.executable))
    found = [path for path in (tmp_path / "terraform" / "mirror").rglob("*") if path.is_file()]
    assert {path.name for path in found} == {
        f"terraform-provider-{name}_v{version}" for name, version in VERSIONS.items()
    }
    assert all(path.stat().st_mode & 0o100 and path.parent.name == platform() for path in found)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")
def test_terraform_finds_all_three_in_the_mirror(host: str, tmp_path: Path) -> None:
    # A blank in the path, as in a home directory that has one.
    config = lay_out_mirror(tmp_path / "a sandbox", Path(sys.executable))
    stack = tmp_path / "stack"
    stack.mkdir()
    (stack / "main.tf").write_text(MAIN.format(host=host))
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TF_CLI_CONFIG_FILE": str(config)}
    done = subprocess.run(
        ["terraform", "init", "-no-color"], cwd=stack, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name, version in VERSIONS.items():
        assert re.search(rf"Installed \S*hashicorp/{name} v{version}", done.stdout)
