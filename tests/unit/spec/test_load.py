from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from triplane.spec.graph import cycle, order, upstream, waves
from triplane.spec.load import SpecError, load
from triplane.spec.model import Platform
from triplane.spec.reading import json_schema
from triplane.spec.values import parse_duration, print_duration

EXAMPLE = Path(__file__).parents[3] / "examples/streaming-platform/platform.yaml"


@pytest.fixture(scope="module")
def platform() -> Platform:
    return load(EXAMPLE, files=False)


def test_the_components_of_the_example(platform: Platform) -> None:
    for cloud in ("aws", "gcp", "azure"):
        assert platform.addresses(cloud) == (
            f"{cloud}/stack/network",
            f"{cloud}/stack/cluster",
            f"{cloud}/machines/worker",
            f"{cloud}/chart/ingest",
            f"{cloud}/chart/query",
            f"{cloud}/function/webhook",
            *(["aws/function/events"] if cloud == "aws" else []),
            f"{cloud}/stream/events",
            f"{cloud}/schedule/heartbeat",
            f"{cloud}/pipeline/release",
        )
    assert len(platform.addresses()) == 28


def test_the_example_in_values(platform: Platform) -> None:
    prod = platform.environments["prod"].approval
    assert (prod.low, prod.critical, prod.expires, prod.approvers) == (
        1,
        2,
        timedelta(hours=4),
        ("bob", "carol"),
    )
    assert platform.stack_order("aws") == ("network", "cluster")
    assert platform.images_of("aws") == ("ingest", "query")
    assert platform.images_of("gcp") == ("ingest", "query", "webhook")
    assert platform.cloud("aws").functions["webhook"].options() == {
        "handler": "app.handler",
        "runtime": "python3.13",
        "role": "${cluster.webhook_role_arn}",
        "memory": 128,
        "timeout": 30,
    }
    assert platform.cloud("azure").functions["webhook"].options() == {
        "runtime": "python|3.11",
        "identity": ["${cluster.identity_id}"],
    }


@pytest.mark.parametrize(
    "tool",
    [
        {},
        {"binary": "bundled"},
        {"binary": "/opt/terraform/1.9/terraform"},
        {"binary": "terraform-1.11", "required_version": "~> 1.11, != 1.11.2"},
    ],
)
def test_which_terraform(platform: Platform, tool: dict[str, str]) -> None:
    found = Platform.model_validate({**platform.model_dump(by_alias=True), "terraform": tool}).terraform
    assert found.model_dump(exclude_unset=True) == tool


def test_a_platform_is_immutable_and_equal_to_its_copy(platform: Platform) -> None:
    with pytest.raises(ValueError, match="frozen"):
        platform.name = "other"  # type: ignore[misc]
    assert Platform.model_validate(platform.model_dump(by_alias=True)) == platform


def test_every_part_of_the_schema_refuses_unknown_keys() -> None:
    schema = json_schema()
    objects = [d for d in (schema, *schema["$defs"].values()) if d.get("properties")]
    assert len(objects) > 10
    assert all(d["additionalProperties"] is False for d in objects)


def test_defaults_in_the_schema_match_their_own_pattern() -> None:
    fields = [
        field for definition in json_schema()["$defs"].values() for field in definition["properties"].values()
    ]
    named = [field for field in fields if "default" in field and "pattern" in field]
    assert len(named) >= 7
    assert all(re.fullmatch(field["pattern"], field["default"]) for field in named)


@pytest.mark.parametrize(
    ("written", "printed"), [("2d", "48h"), ("90m", "1h30m"), ("1h1s", "1h1s"), ("5s", "5s")]
)
def test_a_duration_is_printed_so_that_it_can_be_read(written: str, printed: str) -> None:
    assert print_duration(parse_duration(written)) == printed
    assert parse_duration(printed) == parse_duration(written)


def test_the_error_holds_all_problems(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 2\nname: x\nclouds: {}\n")
    with pytest.raises(SpecError) as error:
        load(tmp_path / "p.yaml")
    assert [problem.line for problem in error.value.problems] == [1, 1, 3]
    assert "'environments' is missing" in str(error.value)


def test_without_files_only_the_text_counts(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(EXAMPLE.read_text())
    assert load(tmp_path / "p.yaml", files=False).name == "streaming-platform"
    with pytest.raises(SpecError, match="does not exist"):
        load(tmp_path / "p.yaml")


DIAMOND = {"d": ("b", "c"), "b": ("a",), "c": ("a",), "a": ()}


def test_order_of_a_graph() -> None:
    assert waves(DIAMOND) == (("a",), ("b", "c"), ("d",))
    assert order(DIAMOND) == ("a", "b", "c", "d")
    assert upstream(DIAMOND, "d") == {"a", "b", "c"}
    assert cycle(DIAMOND) is None


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"x": [], "a": ["b"], "b": ["x", "a"]}, ("a", "b", "a")),
        ({"a": ["b"], "b": ["c", "a"], "c": ["b"]}, ("a", "b", "a")),
        ({"s": ["b"], "b": ["c"], "c": ["d"], "d": ["b"]}, ("b", "c", "d", "b")),
    ],
)
def test_a_cycle_is_named(graph: dict[str, list[str]], found: tuple[str, ...]) -> None:
    assert cycle(graph) == found
    with pytest.raises(ValueError, match=" -> ".join(found)):
        waves(graph)


def test_asdict_says_what_pydantic_dumps(platform: Platform) -> None:
    assert platform.asdict() == _in_seconds(platform.model_dump(mode="json", exclude_none=True))
    cloud = platform.cloud("aws")
    assert cloud.asdict("region", "registry").keys() == {"region", "registry"}


def _in_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_seconds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_seconds(item) for item in value]
    if isinstance(value, str) and re.fullmatch(r"P(\d+D)?(T[\dHMS.]+)?", value):
        return TypeAdapter(timedelta).validate_python(value).total_seconds()
    return value
