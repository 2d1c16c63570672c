"""A platform of one quick Terraform stack in each cloud, for what is about runs rather than about clouds."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PREFIX = "small_"
DAGS = Path(__file__).with_name("dags")
CLOUDS = {
    "aws": ("s3", {"region": "eu-west-1", "state": {"bucket": "streaming-tfstate"}}),
    "gcp": (
        "gcs",
        {
            "project": "triplane-sandbox",
            "region": "europe-west1",
            "state": {"bucket": "streaming-tfstate"},
        },
    ),
    "azure": (
        "azurerm",
        {
            "resource_group": "streaming",
            "location": "westeurope",
            "state": {
                "resource_group": "streaming",
                "storage_account": "streamingtfstate",
                "container": "tfstate",
            },
        },
    ),
}
STACK = """
terraform {{
  backend "{backend}" {{}}
}}

variable "environment" {{ type = string }}

resource "terraform_data" "main" {{
  input = "{value}"
}}
"""
BREAKABLE = """
resource "terraform_data" "{name}" {{
  lifecycle {{
    precondition {{
      condition     = timestamp() == var.environment ? true : !fileexists("{down}") # times are known at last
      error_message = "{cloud} is down"
    }}
  }}
  provisioner "local-exec" {{
    command = "sleep {seconds}"
  }}
}}
"""


class SmallPlatform:
    """The platform in a git repository of its own. What is written to it counts once it is committed.

    Its environments have names that no other platform of the same Airflow uses.

    :param folder: made here
    :param environments: name -> as in ``platform.yaml``
    :param top: what else the spec says at its top
    """

    def __init__(self, folder: Path, environments: Mapping[str, Any], **top: Any) -> None:
        self.folder = folder
        self.spec = folder / "platform.yaml"
        for cloud in CLOUDS:
            (folder / "infra" / cloud).mkdir(parents=True)
            self.set(cloud, "1")
        clouds = {
            cloud: {**body, "stacks": {"main": self._stack(cloud)}} for cloud, (_, body) in CLOUDS.items()
        }
        document = {
            "version": 1,
            "name": "small",
            "environments": dict(environments),
            "clouds": clouds,
            **top,
        }
        self.spec.write_text(yaml.safe_dump(document, sort_keys=False))
        self._git("init", "--quiet", "--initial-branch=main")
        self.head = self.commit("The platform as it is")

    def set(self, cloud: str, value: str) -> None:
        """Change the cloud's stack in place: a change of medium risk."""
        backend, _ = CLOUDS[cloud]
        self._main(cloud).write_text(STACK.format(backend=backend, value=value))

    def add(self, cloud: str, name: str, seconds: float = 0) -> None:
        """Put one more resource into the cloud's stack, which takes a while; applying it fails while the cloud is down."""
        with self._main(cloud).open("a") as file:
            file.write(BREAKABLE.format(name=name, cloud=cloud, down=self._down(cloud), seconds=seconds))

    def take_down(self, cloud: str) -> None:
        """From now on nothing that :meth:`add` adds can be applied in this cloud."""
        self._down(cloud).touch()

    def bring_up(self, cloud: str) -> None:
        """The end of :meth:`take_down`."""
        self._down(cloud).unlink(missing_ok=True)

    def commit(self, message: str) -> str:
        """Commit everything and return the commit id."""
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", message)
        return self._git("rev-parse", "HEAD").strip()

    def _stack(self, cloud: str) -> dict[str, Any]:
        return {"path": f"infra/{cloud}", "variables": {"environment": "${environment}"}}

    def _main(self, cloud: str) -> Path:
        return self.folder / "infra" / cloud / "main.tf"

    def _down(self, cloud: str) -> Path:
        return self.folder.parent / f"{cloud}-is-down"

    def _git(self, *args: str) -> str:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
        return subprocess.run(
            ["git", "-C", str(self.folder), *identity, *args], check=True, capture_output=True, text=True
        ).stdout
