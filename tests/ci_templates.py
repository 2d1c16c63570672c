"""The commands of the templates in examples/ci, as a CI system would run them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CI = Path(__file__).parents[1] / "examples" / "ci"
COMMANDS = ("plan", "deploy", "drift")


class Step(NamedTuple):
    """A shell script of a template with what the CI system adds to its environment, without the installation."""

    system: str
    command: str
    script: str
    environ: Mapping[str, str]


def steps(commit: str) -> list[Step]:
    """Every command of every template, for one commit."""
    return [*_github(commit), *_gitlab(commit), *_azure(commit), *_aws(commit), *_google(commit)]


def load(name: str) -> Any:
    """One template."""
    text = (CI / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.load(text, Loader=yaml.BaseLoader)


def _github(commit: str) -> Iterator[Step]:
    action = load("github/.github/actions/triplane/action.yml")
    script = next(step for step in action["runs"]["steps"] if step.get("id") == "triplane")["run"]
    for name, job in load("github/.github/workflows/triplane.yml")["jobs"].items():
        given = job["steps"][-1]["with"]
        environ = {
            "COMMAND": given["command"],
            "ARGUMENTS": given.get("arguments", ""),
            "REVISION": commit,
            "GITHUB_SHA": commit,
        }
        yield Step("github", name, script, environ)


def _gitlab(commit: str) -> Iterator[Step]:
    document = load("gitlab/.gitlab-ci.yml")
    for name in COMMANDS:
        yield Step("gitlab", name, "\n".join(document[name]["script"]), {"CI_COMMIT_SHA": commit})


def _azure(commit: str) -> Iterator[Step]:
    for step in load("azure/azure-pipelines.yml")["steps"]:
        script = step.get("script", "")
        if script.startswith("triplane "):
            yield Step("azure", script.split()[1], script, {"BUILD_SOURCEVERSION": commit})


def _aws(commit: str) -> Iterator[Step]:
    script = "\n".join(load("aws/buildspec.yml")["phases"]["build"]["commands"])
    for stage in load("aws/pipeline.json")["pipeline"]["stages"][1:]:
        given = json.loads(stage["actions"][0]["configuration"]["EnvironmentVariables"])
        variables = {item["name"]: item["value"] for item in given}
        environ = {**variables, "CODEBUILD_RESOLVED_SOURCE_VERSION": commit}
        yield Step("aws", variables["TRIPLANE_COMMAND"].split()[0], script, environ)


def _google(commit: str) -> Iterator[Step]:
    document = load("google/cloudbuild.yaml")
    script = document["steps"][0]["args"][-1].replace("$$", "$")
    script = "\n".join(line for line in script.splitlines() if not line.startswith("pip "))
    for command in (document["substitutions"]["_COMMAND"], "deploy --wait --timeout 3300", "drift"):
        environ = {"TRIPLANE_COMMAND": command, "COMMIT_SHA": commit}
        yield Step("google", command.split()[0], script, environ)
