"""Every key of ``platform.yaml``, from its JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.reference.markdown import attributes, first_sentence, page, table, text

from triplane.spec.reading import json_schema
from triplane.spec.values import Value

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
INTRO = (
    "Every key of `platform.yaml`, from its JSON Schema (`triplane schema`). [The platform spec](../guides/platform-spec.md) tells "
    "the same by topic, with examples, and says where references (`${…}`) are replaced. `<name>` stands for a name of your own."
)
ROOT = "Platform"
SPEC = "platform-spec.md"
TABLES: dict[tuple[str, str], Sequence[Sequence[str]]] = {
    (SPEC, "The smallest one"): [["Platform"]],
    (SPEC, "Environments"): [["Environment"], ["Approval"]],
    (SPEC, "Releases"): [["Release", "EnvironmentRelease"]],
    (SPEC, "Gates"): [["Gate"], ["Markers"]],
    (SPEC, "Secrets"): [["Secret"], ["Secret"]],
    (SPEC, "Images"): [["Image"], ["Signing"]],
    (SPEC, "Messages"): [["Notification"]],
    (SPEC, "Source"): [["GitHub", "GitLab", "Fetch"]],
    (SPEC, "Tests"): [["Tests"]],
    (SPEC, "Clouds"): [["Cloud", "AwsCloud", "GcpCloud", "AzureCloud"], ["Repositories", "EcrRepositories"]],
    (SPEC, "Stacks"): [["Stack"], ["DriftIgnore"], ["Terraform"]],
    (SPEC, "Machines"): [["Machines"]],
    (SPEC, "Manifests"): [["Manifests"]],
    (SPEC, "Charts"): [["Chart"]],
    (SPEC, "Functions"): [
        *(["Function"], ["LambdaFunction"], ["FargateFunction"]),
        *(["CloudRunFunction", "CloudFunction"], ["AzureFunctionApp"], ["ContainerApp"]),
    ],
    ("serverless.md", "Traffic"): [["Traffic"]],
    ("serverless.md", "Smoke test"): [["Smoke"]],
    (SPEC, "streams and schedules"): [
        ["Event"],
        ["Schedule", "AwsSchedule", "GcpSchedule", "AzureSchedule"],
        ["Stream", "AwsStream", "GcpStream", "AzureStream"],
    ],
    (SPEC, "pipelines"): [["Pipeline"]],
}
"""(Guide, heading) -> of which classes its tables are, one after the other."""


def reference() -> str:
    """The page."""
    schema = json_schema()
    values = {ROOT: schema, **schema["$defs"]}
    places = _places(values)
    guide = dict(_guide())
    parts = (_section(name, values, places[name], guide) for name in places)
    return page("`platform.yaml`, key by key", INTRO, parts)


def _places(values: Mapping[str, Any]) -> dict[str, list[str]]:
    """Where each kind of value stands in the file, in the order in which one comes to it."""
    found: dict[str, list[str]] = {}

    def visit(name: str, path: str) -> None:
        found.setdefault(name, []).append(path)
        for key, schema in values[name]["properties"].items():
            for inner, suffix in _references(schema):
                visit(inner, f"{path}.{key}{suffix}".lstrip("."))

    visit(ROOT, "")
    return found


def _references(schema: Mapping[str, Any], suffix: str = "") -> Iterator[tuple[str, str]]:
    if target := schema.get("$ref"):
        yield target.rsplit("/", 1)[-1], suffix
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _references(choice, suffix)
    if "items" in schema:
        yield from _references(schema["items"], f"{suffix}[]")
    for inner in _values_of(schema):
        yield from _references(inner, f"{suffix}.<name>")


def _values_of(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas of an object's values, where its keys are names."""
    more = schema.get("additionalProperties")
    found = list(schema.get("patternProperties", {}).values())
    return [*found, more] if isinstance(more, dict) else found


def _section(
    name: str, values: Mapping[str, Any], places: list[str], guide: Mapping[tuple[str, str], str]
) -> str:
    schema = values[name]
    kind = _kind(name, schema)
    rows = [
        (
            f"`{key}`",
            _type(inner),
            "needed" if key in schema.get("required", ()) else _default(inner),
            _cell(_meaning(kind, key, inner, values, guide)),
        )
        for key, inner in schema["properties"].items()
    ]
    where = "At the top of the file." if name == ROOT else f"At {', '.join(f'`{path}`' for path in places)}."
    head = f"## {name}\n\n{text(kind.__doc__)}\n\n{where}"
    return f"{head}\n\n{table(('key', 'type', 'default', 'meaning'), rows)}"


def _meaning(
    kind: type[Value],
    key: str,
    schema: Mapping[str, Any],
    values: Mapping[str, Any],
    guide: Mapping[tuple[str, str], str],
) -> str:
    """What a key means: as its class says, else as the guide does, else what its value is."""
    name = _fields(kind)[key]
    for each in kind.__mro__:
        if issubclass(each, Value) and (said := attributes(each).get(name)):
            return said
        if said := guide.get((each.__name__, key)):
            return said
    inner = next((inner for inner, _ in _references(schema)), None)
    return first_sentence(values[inner].get("description")) if inner else ""


def _cell(said: str) -> str:
    """As all cells are written: a capital first, and no full stop after a single sentence."""
    return said[:1].upper() + (said[1:] if ". " in said else said[1:].removesuffix("."))


def _kind(name: str, schema: Mapping[str, Any]) -> type[Value]:
    """The class of that name with these keys."""

    def below(kind: type[Value]) -> Iterator[type[Value]]:
        for each in kind.__subclasses__():
            yield each
            yield from below(each)

    keys = set(schema["properties"])
    return next(kind for kind in below(Value) if kind.__name__ == name and keys == set(_fields(kind)))


def _fields(kind: type[Value]) -> dict[str, str]:
    """Key in the file -> attribute."""
    return {field.alias or name: name for name, field in kind.model_fields.items()}


def _type(schema: Mapping[str, Any]) -> str:
    if target := schema.get("$ref"):
        name = target.rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(choice) for choice in choices if choice.get("type") != "null"))
    if "items" in schema:
        inside = _type(schema["items"])
        return f"list of ({inside})" if " or " in inside else f"list of {inside}"
    if inner := _values_of(schema):
        return f"name -> {' or '.join(_type(each) for each in inner)}"
    if "30m" in schema.get("examples", ()):
        return "duration"
    words = {
        "string": "text",
        "integer": "number",
        "number": "number",
        "boolean": "`true`, `false`",
        "array": "list",
    }
    return words.get(
        schema.get("type", ""), "name -> anything" if schema.get("type") == "object" else "anything"
    ) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    return f", at least {low}" if low is not None else f", at most {high}" if high is not None else ""


def _default(schema: Mapping[str, Any]) -> str:
    if "default" not in schema:
        return "its defaults"
    value = schema["default"]
    if value in (None, {}, [], ""):
        return "none"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _guide() -> Iterator[tuple[tuple[str, str], str]]:
    """(class, key) -> meaning, from the tables of the guides."""
    for (guide, title), wanted in TABLES.items():
        section = re.split(rf"^##+ {title}$", (GUIDES / guide).read_text(), flags=re.M)[1].split("\n## ")[0]
        tables = re.findall(r"^\|[^\n]*\|\n\|[-|]+\|\n((?:\|[^\n]*\|\n)+)", section, re.M)
        for rows, classes in zip(tables, wanted, strict=False):
            for keys, *cells in (re.split(r"(?<!\\) ?\| ?", row.strip("| ")) for row in rows.splitlines()):
                said = cells[1] if re.fullmatch(r"all|(aws|gcp|azure)(, \w+)*", cells[0]) else cells[0]
                for key in re.findall(r"`(\w+)`", keys):
                    yield from (((kind, key), _moved(said, guide)) for kind in classes)


def _moved(said: str, guide: str) -> str:
    """What a guide says, as it is written from here."""
    said = said.replace("see below and ", "see ").replace(", see below", "")
    said = re.sub(r"\]\((?=#)", f"](../guides/{guide}", said)
    return re.sub(r"\]\((?=[\w-]+\.md)", "](../guides/", said)
