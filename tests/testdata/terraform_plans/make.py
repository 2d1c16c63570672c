"""Makes the plans of the corpus with real Terraform; see README.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scenarios import HEAD, SCENARIOS, Scenario

HERE = Path(__file__).parent
MIRROR = "example.test/lab/lab/1.0.0/linux_amd64"


class Lab:
    """Terraform with the provider of this folder, in a directory of its own."""

    def __init__(self, terraform: str, home: Path) -> None:
        self.terraform, self.work, self.world = terraform, home / "work", home / "world.json"
        self.work.mkdir()
        launcher = home / "mirror" / MIRROR / "terraform-provider-lab_v1.0.0"
        launcher.parent.mkdir(parents=True)
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE}/provider.py"\n')
        launcher.chmod(0o755)
        config = home / "terraform.rc"
        config.write_text(
            f'disable_checkpoint = true\nprovider_installation {{\n  filesystem_mirror {{ path = "{home}/mirror" }}\n}}\n'
        )
        self.env = {**os.environ, "TF_CLI_CONFIG_FILE": str(config), "LAB_WORLD": str(self.world)}
        self.env |= {"TF_IN_AUTOMATION": "1"}

    def run(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            [self.terraform, *words], cwd=self.work, env=self.env, capture_output=True, text=True
        )
        if check and done.returncode:
            raise SystemExit(f"terraform {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def make(self, scenario: Scenario) -> tuple[dict[str, Any], dict[str, int]]:
        """The plan, and what Terraform itself counts in it."""
        for name, text in scenario.files.items():
            (self.work / name).parent.mkdir(exist_ok=True)
            (self.work / name).write_text(HEAD + text)
        for step in scenario.steps[:-1]:
            self._configure(step)
            # An apply that leaves a deposed object ends with an error.
            self.run(
                "apply",
                "-auto-approve",
                "-no-color",
                "-parallelism=1",
                check="stuck" not in scenario.steps[0],
            )
        for command in scenario.commands:
            self.run(*command)
        if scenario.drift:
            there = json.loads(self.world.read_text())
            drifted = {key: value and there.get(key, {}) | value for key, value in scenario.drift.items()}
            self.world.write_text(json.dumps(there | drifted))
        self._configure(scenario.steps[-1])
        said = self.run("plan", "-out=p", "-json", *scenario.options, check=False)
        lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        counts = [line["changes"] for line in lines if line["type"] == "change_summary"]
        counted = (
            {key: value for key, value in counts[-1].items() if isinstance(value, int)} if counts else {}
        )
        return json.loads(self.run("show", "-json", "p")), counted

    def _configure(self, text: str) -> None:
        (self.work / "main.tf").write_text(HEAD + text)
        self.run("init", "-no-color")


def main(binaries: list[str]) -> None:
    counts: dict[str, dict[str, int]] = {}
    for binary in binaries:
        said = json.loads(subprocess.run([binary, "version", "-json"], capture_output=True, text=True).stdout)
        target = HERE / f"terraform-{said['terraform_version']}"
        target.mkdir(exist_ok=True)
        for name, scenario in SCENARIOS.items():
            with tempfile.TemporaryDirectory() as home:
                document, counted = Lab(binary, Path(home)).make(scenario)
            (target / f"{name}.json").write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
            counts[f"{target.name}/{name}"] = counted
            print(target.name, name, counted, flush=True)
    (HERE / "counts.json").write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
