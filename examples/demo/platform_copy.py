"""The example in a git repository of its own, so that the demo can commit changes to it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

EXAMPLE = Path(__file__).parents[1] / "streaming-platform"


class PlatformCopy:
    """A private copy of the example platform."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec = folder / "platform.yaml"
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".terraform"))
        self._git("init", "--quiet", "--initial-branch=main")

    def commit(self, message: str) -> str:
        """Commit everything and return the commit id."""
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", message)
        return self._git("rev-parse", "HEAD").strip()

    def change_service(self) -> None:
        """Let the service ``ingest`` take larger events."""
        self.replace("services/ingest/www/cgi-bin/events", "limit=65536", "limit=131072")

    def change_stack(self) -> None:
        """Put one more tag on the AWS network."""
        self.replace(
            "infra/aws/network/main.tf",
            "environment = var.environment",
            'environment = var.environment\n    revision    = "2"',
        )

    def add_chart_secret(self, variable: str) -> None:
        """Give the chart ``query`` a secret value, kept in an Airflow Variable."""
        with self._spec() as spec:
            spec["secrets"]["chart_secret"] = {"variable": variable}
            for cloud in spec["clouds"].values():
                cloud["charts"]["query"]["values"]["secrets"] = {"API_KEY": "${secret.chart_secret}"}

    def break_chart(self, cloud: str, chart: str) -> None:
        """Let a chart use an image that is in no registry."""
        with self._spec() as spec:
            broken = spec["clouds"][cloud]["charts"][chart]
            registry = spec["clouds"][cloud]["registry"]
            nobody_built = "sha256:" + "0" * 64
            image = {"repository": f"{registry}/{spec['name']}/{chart}", "digest": nobody_built}
            broken.update(images={}, timeout="20s", values={**broken["values"], "image": image})

    @contextmanager
    def _spec(self) -> Iterator[dict[str, Any]]:
        """The spec to change; charts that share values by YAML anchors get their own copies."""
        spec = json.loads(json.dumps(yaml.safe_load(self.spec.read_text()), default=str))
        yield spec
        self.spec.write_text(yaml.safe_dump(spec, sort_keys=False))

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace the first ``old`` in a file by ``new``."""
        file = self.folder / path
        text = file.read_text()
        if old not in text:
            raise ValueError(f"{path} does not hold {old!r}")
        file.write_text(text.replace(old, new, 1))

    def _git(self, *args: str) -> str:
        identity = ("-c", "user.name=Demo", "-c", "user.email=demo@example.com")
        return subprocess.run(
            ["git", "-C", str(self.folder), *identity, *args], check=True, capture_output=True, text=True
        ).stdout
