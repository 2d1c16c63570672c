"""Terraform's providers in the sandbox: a filesystem mirror of stand-ins that act on the sandbox's clouds."""

from __future__ import annotations

import json
import os
import shlex
from itertools import product
from pathlib import Path

import triplane
from triplane.sandbox.service import Context, Route, Service

# The versions of the real providers whose schemas the stand-ins follow.
VERSIONS = {"aws": "6.25.0", "azurerm": "4.55.0", "google": "6.50.0"}
HOSTS = ("registry.terraform.io", "registry.opentofu.org")
"""Where ``hashicorp/aws`` is for Terraform, and for OpenTofu."""

LAUNCHER = """#!/bin/sh
exec {python} -I -c 'import sys; sys.path.insert(0, sys.argv[2])
from triplane.sandbox.providers.plugin import main
main("{name}")' {state} {sources}
"""

CONFIG = """\
disable_checkpoint = true
provider_installation {{
  filesystem_mirror {{
    path    = "{mirror}"
    include = {mirrored}
  }}
  direct {{
    exclude = {mirrored}
  }}
}}
"""


def platform() -> str:
    """Terraform's name of this machine's platform, such as ``linux_amd64``."""
    machine = os.uname().machine
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{os.uname().sysname.lower()}_{architecture}"


def lay_out_mirror(directory: Path, python: Path) -> Path:
    """Write launchers and a CLI configuration below ``directory``; the configuration's path.

    ``python`` is an interpreter of an environment that has the plugin library.
    """
    sources = directory / "python"
    sources.mkdir(parents=True)
    # The providers must see this package and nothing else of this environment.
    (sources / "triplane").symlink_to(Path(triplane.__file__).parent)
    for host, (name, version) in product(HOSTS, VERSIONS.items()):
        place = directory / "mirror" / host / "hashicorp" / name / version / platform()
        place.mkdir(parents=True)
        launcher = place / f"terraform-provider-{name}_v{version}"
        words = {"python": python, "state": directory, "sources": sources}
        quoted = {key: shlex.quote(str(word)) for key, word in words.items()}
        launcher.write_text(LAUNCHER.format(name=name, **quoted))
        launcher.chmod(0o755)
    config = directory / "terraform.rc"
    mirrored = json.dumps([f"{host}/hashicorp/{name}" for host, name in product(HOSTS, VERSIONS)])
    config.write_text(CONFIG.format(mirror=directory / "mirror", mirrored=mirrored))
    return config


class TerraformPart:
    """The mirror. Terraform starts the providers itself, so there are no services."""

    name = "terraform"

    def prepare(self, ctx: Context) -> None:
        lay_out_mirror(ctx.home / "terraform", ctx.cache / "venvs" / "terraform-provider" / "bin" / "python")

    def services(self, ctx: Context) -> list[Service]:
        return []

    def routes(self, ctx: Context) -> list[Route]:
        return []

    def environ(self, ctx: Context) -> dict[str, str]:
        return {"TF_CLI_CONFIG_FILE": str(ctx.home / "terraform" / "terraform.rc")}

    def seed(self, ctx: Context) -> None:
        pass


PART = TerraformPart()
