"""Plans that real Terraform made, against what their raw JSON and Terraform itself say of them.

``PLAN_CORPUS=<folder>`` adds every plan below a folder, such as a checkout of ``hashicorp/terraform-json``.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from triplane.core.change import Risk
from triplane.core.errors import InputError
from triplane.core.redact import Redactor
from triplane.terraform.plan import SENSITIVE, UNKNOWN, Plan, ResourceChange, parse_plan, sensitive_values
from triplane.terraform.risk import risk
from triplane.terraform.summary import EACH, change_lines

CORPUS = Path(__file__).parents[2] / "testdata" / "terraform_plans"
COUNTS: dict[str, dict[str, int]] = json.loads((CORPUS / "counts.json").read_text())
VERSIONS = {"terraform-1.11.4", "terraform-1.15.5"}
WORDS = {"delete": "destroy"}


def is_plan(value: Any) -> bool:
    return isinstance(value, dict) and "format_version" in value and "planned_values" in value


def found(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(root.rglob("*.json")):
        try:
            document = json.loads(file.read_text())
        except ValueError:
            continue
        if is_plan(document):
            yield str(file.relative_to(root).with_suffix("")), document


OWN = dict(found(CORPUS))
MORE = dict(found(Path(os.environ["PLAN_CORPUS"]))) if "PLAN_CORPUS" in os.environ else {}
READABLE = {
    name: document
    for name, document in {**OWN, **MORE}.items()
    if document["format_version"].startswith("1.") and not document.get("errored")
}
REFUSED = {name: document for name, document in {**OWN, **MORE}.items() if name not in READABLE}


def parsed(document: dict[str, Any]) -> Plan:
    return parse_plan(document, Redactor(sensitive_values(document)))


def raw(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The changes below ``key`` that do, move or import something."""
    return [
        item
        for item in document.get(key, [])
        if item["change"]["actions"] != ["no-op"]
        or "previous_address" in item
        or "importing" in item["change"]
    ]


def expected_action(item: dict[str, Any]) -> str:
    actions = item["change"]["actions"]
    if actions == ["no-op"]:
        return "import" if "importing" in item["change"] else "move"
    return "replace" if len(actions) == 2 else WORDS.get(actions[0], actions[0])


def marked(value: Any, path: str = "") -> Iterator[str]:
    """Dotted paths of everything that ``*_sensitive`` marks."""
    if value is True:
        yield path
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from marked(item, f"{path}.{key}" if path else str(key))


def at(value: Any, path: str) -> Any:
    for step in path.split(".") if path else []:
        value = value[int(step)] if isinstance(value, list) else (value or {}).get(step)
    return value


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(item)


def secrets(document: dict[str, Any]) -> set[str]:
    """Every text below a mark; shorter ones are ordinary words."""
    outputs = list(document.get("output_changes", {}).values())
    changes = [
        item["change"] for key in ("resource_changes", "resource_drift") for item in document.get(key, [])
    ]
    return {
        text
        for change in [*changes, *outputs]
        for side in ("before", "after")
        for path in marked(change.get(f"{side}_sensitive"))
        for text in texts(at(change.get(side), path))
        if len(text) > 3
    }  # fmt: skip


def test_the_corpus_is_whole() -> None:
    assert {name.split("/")[0] for name in OWN} == VERSIONS
    assert set(OWN) == set(COUNTS)
    assert {document["terraform_version"] for document in OWN.values()} == {v.split("-")[1] for v in VERSIONS}
    actions = {item.action for document in READABLE.values() for item in parsed(document).resources}
    assert actions >= {"read", "create", "import", "move", "forget", "update", "replace", "destroy"}
    assert sum(bool(parsed(document).drift) for document in READABLE.values()) >= 8
    assert sum(bool(secrets(document)) for document in READABLE.values()) >= 8


@pytest.mark.parametrize("name", [name for name in READABLE if name in COUNTS])
def test_it_counts_as_terraform_does(name: str) -> None:
    plan = parsed(READABLE[name])
    actions = Counter(item.action for item in plan.resources)
    assert COUNTS[name] == {
        **({"action_invocation": actions["invoke"]} if "action_invocation" in COUNTS[name] else {}),
        "add": actions["create"] + actions["replace"],
        "change": actions["update"],
        "import": sum(bool(item.import_id) for item in plan.resources),
        "remove": actions["destroy"] + actions["replace"],
    }


@pytest.mark.parametrize("name", READABLE)
def test_nothing_is_lost_or_made_up(name: str) -> None:
    document = READABLE[name]
    plan = parsed(document)
    resources = tuple(item for item in plan.resources if item.action != "invoke")
    for key, changes in (("resource_changes", resources), ("resource_drift", plan.drift)):
        assert len(changes) == len(raw(document, key))
        for item, change in zip(raw(document, key), changes, strict=True):
            _compare(item, change)
    invoked = [item.address for item in plan.resources if item.action == "invoke"]
    assert invoked == [item["address"] for item in document.get("action_invocations", [])]
    outputs = {name: item for name, item in document.get("output_changes", {}).items()
               if item["actions"] != ["no-op"]}  # fmt: skip
    assert [item.name for item in plan.outputs] == sorted(outputs)


def _compare(item: dict[str, Any], change: ResourceChange) -> None:
    raw_change = item["change"]
    assert change.address.startswith(item["address"])
    assert ("deposed" in item) == ("deposed" in change.address)
    assert (change.type, change.action) == (item["type"], expected_action(item))
    assert change.forced_by == tuple(".".join(map(str, path)) for path in raw_change.get("replace_paths", []))
    assert change.moved_from == item.get("previous_address", "")
    assert bool(change.import_id) == ("importing" in raw_change)
    if change.action in ("update", "replace"):
        before, after, unknown = (raw_change.get(key) or {} for key in ("before", "after", "after_unknown"))
        assert {attribute.name.split(".")[0] for attribute in change.attributes} >= {
            key
            for key in {*before, *after}
            if before.get(key) != after.get(key) and unknown.get(key) in (None, False)
        }
        assert {attribute.name for attribute in change.attributes if attribute.after == UNKNOWN} >= {
            key for key, value in unknown.items() if value is True
        }
    hidden = {
        path for side in ("before", "after") for path in marked(raw_change.get(f"{side}_sensitive")) if path
    }
    for attribute in change.attributes:
        near = [path for path in hidden if f"{path}.".startswith(f"{attribute.name}.")
                or f"{attribute.name}.".startswith(f"{path}.")]  # fmt: skip
        if near:
            assert attribute.before == SENSITIVE
            assert attribute.after in (SENSITIVE, UNKNOWN)


@pytest.mark.parametrize("name", READABLE)
def test_no_secret_is_shown(name: str) -> None:
    document = READABLE[name]
    plan = parsed(document)
    shown = [*change_lines(plan), *(item.line() for item in plan.drift), repr(plan)]
    assert secrets(document) <= sensitive_values(document)
    assert [(text, line) for text in secrets(document) for line in shown if text in line] == []


@pytest.mark.parametrize("name", READABLE)
def test_its_risk_and_lines(name: str) -> None:
    plan = parsed(READABLE[name])
    actions = {item.action for item in plan.resources} - {"read"}
    if not actions:
        assert risk(plan) == (Risk.LOW if plan.outputs else Risk.NONE)
    elif actions & {"replace", "destroy", "invoke"}:
        assert risk(plan) >= Risk.HIGH
    else:
        assert risk(plan) >= (Risk.MEDIUM if actions & {"update", "forget"} else Risk.LOW)
    lines = change_lines(plan)
    assert all("\n" not in line for line in lines)
    if len(plan.resources) <= EACH:
        assert len(lines) == len(plan.resources) + len(plan.outputs)
    assert (plan.summary() == "no changes") == (not actions and not plan.outputs)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"known is 1\.x|ended with an error"):
        parse_plan(REFUSED[name])


def test_a_plan_with_an_error_is_never_no_changes() -> None:
    assert set(REFUSED) >= {f"{version}/errored" for version in VERSIONS}


@pytest.mark.parametrize("name", ["create", "secrets_change"])
@pytest.mark.parametrize("version", ["0.1", "0.2", "2.0", "10.1", "", None])
def test_another_major_version_is_refused(name: str, version: str | None) -> None:
    with pytest.raises(InputError, match=r"the plan is in format .*, known is 1\.x: use a Terraform"):
        parse_plan(OWN[f"terraform-1.11.4/{name}"] | {"format_version": version})


def test_a_later_minor_version_and_what_is_new_in_it_are_read() -> None:
    document = OWN["terraform-1.15.5/secrets_change"]
    assert parsed(document | {"format_version": "1.99", "something_new": [{}]}) == parsed(document)
