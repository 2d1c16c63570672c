"""What a resource type looks like, in the notation of the table rows.

An attribute is a line of words: ``"optional computed string replace"``. The words are

- ``required``, ``optional``, ``computed``: as in the real provider's schema,
- a type: ``string``, ``number``, ``bool``, ``list(string)``, ``set(string)``, ``map(string)``,
- ``replace``: a change makes a new resource,
- ``sensitive``: never shown,
- ``json``: two texts with the same JSON content are the same,
- ``default=X``: what the cloud has when nobody asked for anything (X in JSON),
- ``copies=A``: has the value of attribute A unless it is set itself,
- ``after=A,B``: a change of A or B may change it too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

State = dict[str, Any]
Cloud = TypeVar("Cloud")

TYPES = ("string", "number", "bool", "list(string)", "set(string)", "map(string)")


class NotFound(Exception):
    """The cloud says that there is no such thing (any more)."""


class CloudError(Exception):
    """The cloud refused a request, or an operation failed. The text is for people."""


@dataclass(frozen=True, kw_only=True)
class Attribute:
    """One attribute. ``objects`` are the members of a computed list of objects."""

    type: str
    required: bool = False
    optional: bool = False
    computed: bool = False
    replace: bool = False
    sensitive: bool = False
    json: bool = False
    default: Any = None
    copies: str | None = None
    after: tuple[str, ...] = ()
    objects: Mapping[str, Attribute] | None = None


def attribute(line: str) -> Attribute:
    """Parse one line of words. ValueError for a word that is not in the notation."""
    values: dict[str, Any] = {}
    for word in line.split():
        name, _, argument = word.partition("=")
        if word in TYPES:
            values["type"] = word
        elif name == "default":
            values["default"] = json.loads(argument)
        elif name == "copies":
            values["copies"] = argument
        elif name == "after":
            values["after"] = tuple(argument.split(","))
        elif word in ("required", "optional", "computed", "replace", "sensitive", "json"):
            values[word] = True
        else:
            raise ValueError(f"{word!r} in {line!r} is not a word for an attribute")
    return Attribute(**values)


def objects(sensitive: bool = False, **members: str | Attribute) -> Attribute:
    """A computed list of objects, such as a cluster's ``certificate_authority``."""
    parsed = _parsed(members)
    return Attribute(type="list(object)", computed=True, objects=parsed, sensitive=sensitive)


def _parsed(lines: Mapping[str, str | Attribute]) -> dict[str, Attribute]:
    return {name: attribute(line) if isinstance(line, str) else line for name, line in lines.items()}


@dataclass(frozen=True)
class Body:
    """Attributes and nested blocks of a resource type or of a block."""

    lines: Mapping[str, str | Attribute]
    blocks: Mapping[str, Block] = field(default_factory=dict)

    @cached_property
    def attributes(self) -> dict[str, Attribute]:
        return _parsed(self.lines)


@dataclass(frozen=True)
class Block(Body):
    """A nested block. ``replace``: a change in it makes a new resource."""

    nesting: Literal["list", "set", "single"] = "list"
    required: bool = False
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class Resource(Body, Generic[Cloud]):
    """A resource type: its schema and the calls that act on the cloud.

    ``create`` returns the id. ``read`` returns what the cloud has now, for the attributes that it knows.
    ``update`` gets the state before and the planned one. All raise CloudError; NotFound from ``read`` means
    that the resource is gone, from ``delete`` that nothing is left to do.
    """

    name: str
    create: Callable[[Cloud, State], str]
    read: Callable[[Cloud, State], State]
    delete: Callable[[Cloud, State], None]
    update: Callable[[Cloud, State, State], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Provider(Generic[Cloud]):
    """A provider: its own arguments, its resource types, and how to reach its cloud."""

    name: str
    version: str
    arguments: Body
    resources: tuple[Resource[Cloud], ...]
    connect: Callable[[State], Cloud]
