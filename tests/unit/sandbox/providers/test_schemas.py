"""The stand-ins' tables, and the example's HCL, against the real providers' schemas."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from triplane.sandbox.providers.schema import Attribute, Body, Provider, attribute
from triplane.sandbox.terraform import HOSTS, VERSIONS

ROOT = Path(__file__).parents[4]
EXAMPLE = ROOT / "examples" / "streaming-platform" / "infra"
STACKS = sorted(path.parent for path in EXAMPLE.glob("*/*/main.tf"))
META = {"count", "for_each", "depends_on", "lifecycle", "provider", "__is_block__"}


def table(name: str) -> Provider[Any]:
    return importlib.import_module(f"triplane.sandbox.providers.{name}.table").PROVIDER


def real(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "tests" / "testdata" / "provider_schemas" / f"{name}.json").read_text())


def words(value: Attribute) -> set[str]:
    """The words that the real schema has too."""
    flags = {flag for flag in ("required", "optional", "computed") if getattr(value, flag)}
    return flags | {value.type}


def differences(path: str, body: Body, schema: Mapping[str, Any]) -> Iterator[str]:
    for name, value in body.attributes.items():
        yield from attribute_differences(f"{path}.{name}", value, schema.get(name))
    for name, block in body.blocks.items():
        found = schema.get(name)
        if not isinstance(found, dict) or found["nesting"] != block.nesting:
            yield f"{path}.{name}: not such a block"
            continue
        if block.required != (found["is"] == "required"):
            yield f"{path}.{name}: {found['is']}"
        yield from differences(f"{path}.{name}", block, found["fields"])
    for name, found in schema.items():
        required = found.startswith("required") if isinstance(found, str) else found["is"] == "required"
        if required and name not in body.attributes and name not in body.blocks:
            yield f"{path}.{name}: required, and missing here"


def attribute_differences(path: str, value: Attribute, found: Any) -> Iterator[str]:
    if value.objects is not None:
        if not isinstance(found, dict) or found["is"] != "computed":
            yield f"{path}: no computed list of objects"
            return
        for name, member in value.objects.items():
            yield from attribute_differences(f"{path}.{name}", member, found["fields"].get(name))
    elif not isinstance(found, str) or words(value) != set(found.split()):
        yield f"{path}: {sorted(words(value))}, really {found}"


@pytest.mark.parametrize("name", sorted(VERSIONS))
def test_tables_say_what_the_real_providers_say(name: str) -> None:
    provider, schemas = table(name), real(name)
    assert (f"{HOSTS[0]}/hashicorp/{name}", VERSIONS[name]) == (schemas["source"], schemas["version"])
    assert (provider.name, provider.version) == (name, VERSIONS[name])
    found = [
        difference
        for row in provider.resources
        for difference in differences(f"{name}_{row.name}", row, schemas["resources"][f"{name}_{row.name}"])
    ]
    assert found == []


@pytest.mark.parametrize("name", sorted(VERSIONS))
def test_dependencies_between_attributes_exist(name: str) -> None:
    for row in table(name).resources:
        for path, value in row.attributes.items():
            named = {*value.after, *([value.copies] if value.copies else [])}
            assert named <= {*row.attributes, *row.blocks}, f"{row.name}.{path}"


@pytest.mark.parametrize("name", sorted(VERSIONS))
def test_secrets_are_sensitive(name: str) -> None:
    for row in table(name).resources:
        for path, value in row.attributes.items():
            secret = "password" in path or path.endswith("access_key")
            assert value.sensitive == secret, f"{row.name}.{path}"


def test_a_word_outside_the_notation_is_refused() -> None:
    with pytest.raises(ValueError, match="'forcenew'"):
        attribute("required string forcenew")


def plain(value: Any) -> Any:
    """Parsed HCL without the quotes that the parser keeps around names and texts."""
    if isinstance(value, dict):
        return {name.strip('"'): plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.strip('"') if isinstance(value, str) else value


def parse(stack: Path) -> dict[str, list[Any]]:
    hcl2 = pytest.importorskip("hcl2")
    merged: dict[str, list[Any]] = {}
    for file in sorted(stack.glob("*.tf")):
        for name, items in plain(hcl2.loads(file.read_text())).items():
            merged.setdefault(name, []).extend(items)
    return merged


def unknown_names(path: str, block: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """What a resource sets that the real provider does not have, or only computes; what it must set and does not."""
    for name, value in block.items():
        if name in META:
            continue
        found = schema.get(name)
        says = found if isinstance(found, str) else (found or {}).get("is", "")
        if "optional" not in says and "required" not in says:
            yield f"{path}.{name}"
        elif isinstance(found, dict):
            for item in value:
                yield from unknown_names(f"{path}.{name}", item, found["fields"])
    for name, found in schema.items():
        says = found if isinstance(found, str) else found["is"]
        if says.startswith("required") and name not in block:
            yield f"{path}.{name} is missing"


@pytest.mark.parametrize("stack", STACKS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_example_uses_the_real_providers_attributes(stack: Path) -> None:
    parsed = parse(stack)
    schemas = {name: schema for cloud in VERSIONS for name, schema in real(cloud)["resources"].items()}
    found = [
        problem
        for resource in parsed["resource"]
        for kind, named in resource.items()
        for name, block in named.items()
        for problem in unknown_names(f"{kind}.{name}", block, schemas[kind])
    ]
    assert found == []


@pytest.mark.parametrize("stack", STACKS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_example_asks_for_a_version_that_the_mirror_has(stack: Path) -> None:
    (settings,) = parse(stack)["terraform"]
    for required in settings["required_providers"]:
        for name, asked in required.items():
            if name == "__is_block__":
                continue
            major, minor, _ = VERSIONS[name].split(".")
            assert asked == {"source": f"hashicorp/{name}", "version": f"~> {major}.{minor}"}


def test_there_are_two_stacks_a_cloud() -> None:
    names = [f"{path.parent.name}/{path.name}" for path in STACKS]
    assert names == [
        f"{cloud}/{stack}" for cloud in ("aws", "azure", "gcp") for stack in ("cluster", "network")
    ]
