"""A file against the model of a platform: what it says, and every problem in the words of its author."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from triplane.spec.checks import check
from triplane.spec.document import Document, Location, Problem, closest
from triplane.spec.model import Platform
from triplane.spec.values import print_duration


def read(path: Path, files: bool) -> tuple[Platform | None, list[Problem]]:
    """The platform that the file describes, None where that cannot be said, and the problems in the order of the file.

    ``files``: whether to look at the files that it names.
    """
    document = Document.of(path)
    if document.data is None:
        return None, document.problems
    platform, problems = None, list(document.problems)
    try:
        platform = Platform.model_validate(document.data)
    except ValidationError as error:
        problems += (_translate(document, details) for details in error.errors(include_url=False))
    problems += check(document, path.parent if files else None)
    return platform, sorted(
        set(problems), key=lambda problem: (problem.line, problem.column, problem.message)
    )


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``platform.yaml``, for editors."""
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """Defaults as a user would write them."""

        def encode_default(self, dft: Any) -> Any:
            return print_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    schema = Platform.model_json_schema(schema_generator=Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Triplane platform"}


def _translate(document: Document, error: ErrorDetails) -> Problem:
    """One error of pydantic in words for the author of the file."""
    kind, location = error["type"], tuple(error["loc"])
    name, parent = (str(location[-1]), location[:-1]) if location else ("the spec", ())
    if kind == "extra_forbidden":
        hint = closest(name, _keys_at(parent)) or f"known here: {', '.join(_keys_at(parent))}"
        return document.problem(location, f"unknown key '{name}'", hint, on_key=True)
    if kind == "missing":
        return document.problem(parent, f"'{name}' is missing", on_key=True)
    if name == "[key]":
        rule = "lower-case letters, digits and dashes, a letter first"
        return document.problem(parent, f"'{parent[-1]}' cannot be a name", rule, on_key=True)
    message = error["msg"].removeprefix("Value error, ")
    hint = ""
    if kind == "literal_error":
        hint = closest(str(error["input"]), error["ctx"]["expected"].replace("'", "").split(" or "))
    elif kind == "string_type" and isinstance(error["input"], (int, float, bool)):
        hint = "put it in quotes"
    return document.problem(location, f"{name}: {message[:1].lower()}{message[1:]}", hint)


@functools.cache
def _schema() -> dict[str, Any]:
    return json_schema()


def _keys_at(location: Location) -> list[str]:
    """The keys that the model knows at a place, from its JSON Schema."""
    return sorted({key for schema in _schemas_at(location) for key in schema.get("properties", {})})


def _schemas_at(location: Location) -> list[dict[str, Any]]:
    schemas = list(_alternatives(_schema()))
    for step in location:
        inner = [_step(schema, step) for schema in schemas]
        schemas = [choice for schema in inner if schema for choice in _alternatives(schema)]
    return schemas


def _step(schema: dict[str, Any], step: str | int) -> dict[str, Any] | None:
    if isinstance(step, int):
        return schema.get("items")
    found = schema.get("properties", {}).get(step, schema.get("additionalProperties"))
    return (
        found if isinstance(found, dict) else next(iter(schema.get("patternProperties", {}).values()), None)
    )


def _alternatives(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if reference := schema.get("$ref"):
        yield from _alternatives(_schema()["$defs"][reference.rsplit("/", 1)[-1]])
    for choice in schema.get("anyOf", schema.get("oneOf", ())):
        yield from _alternatives(choice)
    yield schema
