"""Every piece of code in the documentation is read by what it is for: specs, commands, Python, options."""

from __future__ import annotations

import argparse
import configparser
import importlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import hcl2
import pytest
import yaml
from airflow.sdk import DAG
from cryptography.fernet import Fernet
from jsonschema import Draft202012Validator

from triplane.cli.main import parser
from triplane.factories.cloud import cloud_dag
from triplane.gates.check import Check, judge
from triplane.provider import get_provider_info
from triplane.serverless import deployment, target, targets
from triplane.serverless.target import Desired, Ready, Smoke, Target
from triplane.spec.load import load
from triplane.spec.manifests import Manifests
from triplane.spec.model import AwsCloud, Platform
from triplane.spec.reading import json_schema
from triplane.terraform.backends import BACKENDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)  # fmt: skip
AROUND = yaml.safe_load("""
version: 1
name: shop
secrets: {api_token: {variable: shop_api_token}}
images: {api: {context: services/api}, ingest: {context: services/ingest}}
clouds:
  aws:
    region: eu-west-1
    registry: 123456789012.dkr.ecr.eu-west-1.amazonaws.com
    cluster: shop
    state: {bucket: shop}
    stacks: {network: {path: infra/network}, base: {path: infra/base}, cluster: {path: infra/cluster, after: [network]}}
    functions:
      orders: {target: lambda, path: functions/orders, handler: app.handler, runtime: python3.13, role: "${base.role}"}
      report: {target: lambda, path: functions/report, handler: app.handler, runtime: python3.13, role: "${base.role}"}
  gcp:
    project: shop
    region: europe-west1
    registry: europe-west1-docker.pkg.dev/shop/images
    cluster: shop
    state: {bucket: shop}
    stacks: {base: {path: infra/base}}
    functions:
      orders: {target: cloud_functions, path: functions/orders, runtime: python313, entry_point: main}
  azure:
    resource_group: shop
    location: westeurope
    state: {resource_group: shop, storage_account: shop, container: tfstate}
    stacks: {base: {path: infra/base}}
    functions:
      orders: {target: azure_functions, path: functions/orders, runtime: "python|3.13"}
""")
"""What the pieces of a spec in the guides take for granted."""
NO_SPEC = {
    "services": "docker.md: an override of docker-compose.yaml",
    "plugin": "machines.md: the settings of an inventory plugin of Ansible",
    "run-name": "pipelines.md: a workflow of GitHub Actions",
}
"""A key of the YAML that is not a spec -> what it is."""


SCHEMA = Draft202012Validator(json_schema())


class Snippet(NamedTuple):
    """A block of code, and where it begins."""

    page: Path
    line: int
    language: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets(*languages: str) -> list[Snippet]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
            line = text[: block.start()].count("\n") + 1
            if block[1] in languages:
                found.append(Snippet(page, line, block[1], block[2]))
    return found


def each(*languages: str) -> Any:
    return pytest.mark.parametrize("snippet", snippets(*languages), ids=lambda snippet: snippet.place)


def merged(base: Any, piece: Any) -> Any:
    """``piece`` laid over ``base``, key by key."""
    if isinstance(base, Mapping) and isinstance(piece, Mapping):
        return {key: merged(base.get(key), piece.get(key, base.get(key))) for key in {**base, **piece}}
    return piece if piece is not None else base


def framed(document: dict[str, Any]) -> dict[str, Any]:
    """A piece of a spec where it belongs: at the top, in a cloud, or in a component."""
    keys = set(document)
    if keys <= set(Platform.model_fields):
        return document
    if keys <= set(AwsCloud.model_fields):
        return {"clouds": {"aws": document}}
    assert keys <= set(Manifests.model_fields), f"no part of a spec, and not in NO_SPEC: {keys}"
    return {"clouds": {"aws": {"manifests": {"edge": {"path": "k8s/edge", **document}}}}}


def around(document: Mapping[str, Any], code: str) -> dict[str, Any]:
    """What a piece takes for granted, of the clouds that it speaks of; nothing of a whole spec."""
    if "version" in document:
        return {}
    clouds = {name: body for name, body in AROUND["clouds"].items() if name == "aws" or name in code}
    environments = {name: {} for name in ("staging", "prod") if name == "staging" or name in code}
    secrets = {} if "secrets" in document else AROUND["secrets"]
    return {**AROUND, "clouds": clouds, "environments": environments, "secrets": secrets}


@each("yaml")
def test_spec(snippet: Snippet, tmp_path: Path) -> None:
    """A whole one as it is, a piece of one laid over what it takes for granted."""
    document = yaml.safe_load(snippet.code)
    if set(document) & set(NO_SPEC) or snippet.code.startswith(("# broken.yaml", "# yaml-language-server")):
        return
    document = framed(document)
    whole = yaml.safe_dump(merged(around(document, snippet.code), document))
    file = tmp_path / "platform.yaml"
    file.write_text(whole)
    load(file, files=False)
    problems = SCHEMA.iter_errors(json.loads(json.dumps(yaml.safe_load(whole), default=str)))
    assert [f"{error.json_path}: {error.message}" for error in problems] == []


FIRST = sorted((ROOT / "docs" / "guides").glob("first-deployment-*.md"))


@pytest.mark.parametrize("page", FIRST, ids=lambda page: page.stem)
def test_first_deployment(page: Path, tmp_path: Path) -> None:
    """The spec and the module of each cloud fit together, and its DAG can be made of them."""
    code = {snippet.language: snippet.code for snippet in snippets("yaml", "hcl") if snippet.page == page}
    (tmp_path / "infra" / "network").mkdir(parents=True)
    (tmp_path / "infra" / "network" / "main.tf").write_text(code["hcl"])
    (tmp_path / "platform.yaml").write_text(code["yaml"])
    platform = load(tmp_path / "platform.yaml")
    (cloud,) = platform.used_clouds()
    assert f'backend "{BACKENDS[cloud]}" {{}}' in code["hcl"]
    ((provider, kind),) = re.findall(r'^resource "([a-z]+)_(\w+)"', code["hcl"], re.M)
    table = importlib.import_module(f"triplane.sandbox.providers.{provider}.table").PROVIDER
    assert kind in {resource.name for resource in table.resources}, "the sandbox cannot rehearse it"
    dag = cloud_dag(cloud, str(tmp_path / "platform.yaml"))
    assert dag is not None
    assert "network" in str(dag.task_ids)


@each("python")
def test_python(snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs: what it imports is there, and its tasks and DAGs can be made."""
    monkeypatch.setenv("AIRFLOW__TRIPLANE__PLATFORM", str(ROOT / "examples/streaming-platform/platform.yaml"))
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    code = compile(snippet.code, snippet.place, "exec")
    with DAG("snippet"):
        exec(code, {"__name__": "snippet"})


@each("hcl")
def test_hcl(snippet: Snippet) -> None:
    assert hcl2.loads(snippet.code)


@each("json")
def test_json(snippet: Snippet) -> None:
    assert json.loads(snippet.code.replace("…", "..."))


@each("ini")
def test_options(snippet: Snippet) -> None:
    """Options of ours exist; others are Airflow's own business."""
    found = configparser.ConfigParser(interpolation=None)
    found.read_string(snippet.code)
    known = get_provider_info()["config"]["triplane"]["options"]
    named = found.options("triplane") if found.has_section("triplane") else []
    assert set(named) <= set(known)


def test_settings_that_are_named() -> None:
    known = get_provider_info()["config"]["triplane"]["options"]
    text = "".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"\[triplane\] ([a-z_]+)", text))
    named |= {
        name.lower() for name in re.findall(r"AIRFLOW__TRIPLANE__([A-Z]+(?:_[A-Z]+)*?)(?:_CMD)?\b", text)
    }
    assert named
    assert named <= set(known)


def commands(code: str) -> Iterator[list[str]]:
    """The words of each call of ``triplane`` in lines of a shell."""
    for line in (line for line in code.splitlines() if re.search(r"\btriplane \w", line)):
        for part in re.split(r"[|;&]|\$\(|\)", re.sub(r'"\$\((.*?)\)"', r"$(\1)", line.removeprefix("$ "))):
            words = (
                shlex.split(part, comments=True)
                if part.count('"') % 2 == part.count("'") % 2 == 0
                else part.split()
            )
            words = words[: words.index(">")] if ">" in words else words
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            if words[:1] == ["triplane"]:
                yield words[1:]


def inline(page: Path) -> Iterator[str]:
    """Calls that a text names in passing. What is left out of it (``…``) is left out here."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    yield from re.findall(r"`(triplane [^`\n]+)`", prose)


CALLS = [(snippet.place, words) for snippet in snippets("console", "sh") for words in commands(snippet.code)]
NAMED = [(page.name, words) for page in PAGES for code in inline(page) for words in commands(code)]


@pytest.mark.parametrize(("place", "words"), CALLS)
def test_command(place: str, words: list[str]) -> None:
    """As it is written, with the command's own parser."""
    parser(words).parse_args(words)


@pytest.mark.parametrize(("place", "words"), NAMED)
def test_command_in_passing(place: str, words: list[str]) -> None:
    """A command that exists, with options that it has; not all that it needs has to be there."""
    known = parser(words)
    while (inner := subcommands(known)) and words and words[0] in inner:
        known, words = inner[words[0]], words[1:]
    options = {name for action in known._actions for name in action.option_strings}
    assert {word for word in words if word.startswith("-")} <= options
    assert not subcommands(known) or not words, f"there is no {words}"


def subcommands(known: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    groups = [action for action in known._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(groups[0].choices) if groups else {}


def test_there_are_commands() -> None:
    assert len(CALLS) > 20
    assert len(NAMED) > 20


def written(page: str, name: str) -> Any:
    """What the Python of a guide defines as ``name``."""
    for snippet in snippets("python"):
        if snippet.page.name == page:
            found: dict[str, Any] = {"__name__": "snippet"}
            exec(compile(snippet.code, snippet.place, "exec"), found)
            if name in found:
                return found[name]
    raise AssertionError(f"{page} defines no {name}")


def test_target_of_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's target deploys, is found as it was deployed, deploys again, and goes back."""
    shelf = written("writing-a-target.md", "Shelf")({})
    monkeypatch.setitem(targets.TARGETS, "shelf", lambda place: shelf)
    monkeypatch.setattr(deployment, "SMOKE_SECONDS", 0)
    deployed = targets.connect("shelf", targets.Place("nowhere"))
    first = Desired(
        name="hook", artifact="sha256:1", config="c", package=b"zip", options={"memory": 1}, attempt="a1"
    )
    target.check_options(deployed, first)
    assert target.plan("aws/function/hook", first, None).action == "create"
    assert _deploy(deployed, first).serves == "a1"
    assert target.difference(first, deployed.observe("hook")) == ()
    second = replace(first, artifact="sha256:2", attempt="a2")
    before = deployed.observe("hook")
    assert target.plan("aws/function/hook", second, before).lines == ("code: sha256:1 -> sha256:2",)
    assert _deploy(deployed, second, Smoke(contains="what it does not answer")).failed
    assert deployed.observe("hook") == before
    assert deployed.delete("hook") == Ready(version="")
    assert deployed.observe("hook") is None


def _deploy(deployed: Target, desired: Desired, smoke: Smoke | None = None) -> deployment.Attempt:
    """As the operator does, step by step."""
    steps = deployment.Deployment(target=deployed, desired=desired, smoke=smoke)
    attempt = deployment.Attempt(id=desired.attempt, previous=deployed.observe(desired.name))
    while not attempt.ended:
        attempt, waiting = steps.go_on(attempt)
        assert waiting is None
    return attempt


def test_source_of_gates_of_the_guide(tmp_path: Path) -> None:
    source = written("writing-a-target.md", "Source")({"path": tmp_path / "errors"})
    check = Check(source="http", query={}, name="errors", at_most=1)
    assert judge(check, source.read(10.0), None, at=10.0, begun=0.0).good is None
    (tmp_path / "errors").write_text("0.5")
    assert judge(check, source.read(10.0), None, at=10.0, begun=0.0).good is True
    (tmp_path / "errors").write_text("2")
    assert judge(check, source.read(10.0), None, at=10.0, begun=0.0).good is False
