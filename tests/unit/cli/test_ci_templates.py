"""The templates in examples/ci have the form that their systems want, and call commands that there are."""

from __future__ import annotations

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from tests.ci_templates import CI, COMMANDS, load, steps

from triplane.cli.main import parser

SCHEMAS = {
    "github/.github/workflows/triplane.yml": "github-workflows",
    "github/.github/actions/triplane/action.yml": "github-actions",
    "gitlab/.gitlab-ci.yml": "gitlab-ci",
    "azure/azure-pipelines.yml": "azure-pipelines",
    "google/cloudbuild.yaml": "cloudbuild",
}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_PHASE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "run-as": {"type": "string"},
        "on-failure": {"type": "string"},
        "runtime-versions": _TEXTS,
        "commands": {"type": "array", "items": {"type": "string"}},
        "finally": {"type": "array", "items": {"type": "string"}},
    },
}
BUILDSPEC = {
    "type": "object",
    "required": ["version", "phases"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": "0.2"},
        "run-as": {"type": "string"},
        "env": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "shell": {"enum": ["bash", "/bin/sh"]},
                "variables": _TEXTS,
                "parameter-store": _TEXTS,
                "secrets-manager": {
                    "type": "object",
                    "additionalProperties": {"pattern": "^[^:]+(:[^:]*){0,3}$"},
                },
                "exported-variables": {"type": "array", "items": {"type": "string"}},
            },
        },
        "phases": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(("install", "pre_build", "build", "post_build"), _PHASE),
        },
        "artifacts": {"type": "object"},
        "cache": {"type": "object"},
        "reports": {"type": "object"},
    },
}
"""The build specification reference of AWS CodeBuild, as far as it matters here."""


@pytest.mark.parametrize(("name", "schema"), SCHEMAS.items())
def test_a_template_has_the_form_that_its_system_publishes(name: str, schema: str) -> None:
    published = files("check_jsonschema") / "builtin_schemas" / "vendor" / f"{schema}.json"
    rules = json.loads(published.read_text())
    validator = validator_for(rules)(rules)
    document = yaml.safe_load((CI / name).read_text())
    # YAML 1.1 takes GitHub's key `on` for true.
    document = {"on" if key is True else key: value for key, value in document.items()}
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
    assert not errors
    assert list(validator.iter_errors([{"nothing": "of it"}]))


def test_the_buildspec_has_the_documented_form() -> None:
    assert not list(Draft202012Validator(BUILDSPEC).iter_errors(load("aws/buildspec.yml")))


def test_the_pipeline_is_what_codepipeline_takes() -> None:
    from botocore.session import Session
    from botocore.validate import ParamValidator

    shape = Session().get_service_model("codepipeline").operation_model("CreatePipeline").input_shape
    document = load("aws/pipeline.json")
    report = ParamValidator().validate(document, shape)
    assert not report.has_errors(), report.generate_report()
    for stage in document["pipeline"]["stages"][1:]:
        assert json.loads(stage["actions"][0]["configuration"]["EnvironmentVariables"])


def test_every_command_in_them_is_one_that_the_parser_knows() -> None:
    found = [
        (step.system, command) for step in steps("0" * 40) for command in _commands(step.script, step.environ)
    ]
    for _, words in found:
        parser(words).parse_args(words)
    systems = {system for system, _ in found}
    assert systems == {"github", "gitlab", "azure", "aws", "google"}
    for system in systems - {"aws"}:
        assert {words[0] for name, words in found if name == system} == set(COMMANDS), system


def test_no_template_writes_a_credential_down() -> None:
    for path in filter(Path.is_file, CI.rglob("*")):
        text = path.read_text()
        for match in re.finditer(r"TRIPLANE_(?:PASSWORD|TOKEN): *(\S.*)", text):
            assert re.match(r"\$\{\{ secrets\.|\$\(TRIPLANE_|triplane/ci:", match[1]), (path, match[0])
        assert not re.search(r"triplane .*(?:--password|--token)", text)


def _commands(script: str, environ: Any) -> list[list[str]]:
    found = []
    for line in script.splitlines():
        if not line.startswith("triplane "):
            continue
        text = line.split(">")[0].replace('"${arguments[@]}"', environ.get("ARGUMENTS", ""))
        text = re.sub(r"\$\{(\w+):-\$(\w+)\}", r"$\2", text)
        text = re.sub(r"\$(\w+)", lambda match: environ.get(match[1], "x"), text)
        found.append(shlex.split(text)[1:])
    return found
