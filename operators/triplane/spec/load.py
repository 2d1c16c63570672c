"""``platform.yaml`` -> :class:`Platform`, or every problem of it at once."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from triplane.spec import cache
from triplane.spec.checks import check
from triplane.spec.document import Document, Location, Problem, closest
from triplane.spec.model import Platform
from triplane.spec.values import print_duration


class SpecError(ValueError):
    """The spec is wrong; ``problems`` says where and how, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


def load(path: Path | str, *, files: bool = True) -> Platform:
    """The platform that the file describes.

    ``files=False`` leaves out the checks that look at the files the spec names, and remembers what was read, for a
    DAG file that is parsed again and again. Raises :class:`SpecError` with every problem.
    """
    text = None if files else _text(Path(path))
    if text is not None and (known := cache.get(text)):
        return known
    platform, problems = _read(Path(path), files)
    if platform is None or problems:
        raise SpecError(problems)
    if text is not None:
        cache.put(text, platform)
    return platform


def _text(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def problems_of(path: Path | str) -> list[Problem]:
    """Every problem of the file, in its order; empty where :func:`load` would succeed."""
    return _read(Path(path), files=True)[1]


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``platform.yaml``, for editors."""
    from pydantic.json_schema import GenerateJsonSchema

    class Generator(GenerateJsonSchema):
        """Defaults as a user would write them."""

        def encode_default(self, dft: Any) -> Any:
            return print_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)

    schema = Platform.model_json_schema(schema_generator=Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Triplane platform"}


def _read(path: Path, files: bool) -> tuple[Platform | None, list[Problem]]:
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
