"""Kubernetes objects compared, object by object and field by field, for people to read. Pure.

Works on any two sets of objects: manifests as rendered and as a release keeps them, or live objects.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import yaml

from triplane.core.digest import digest
from triplane.core.errors import InputError
from triplane.core.redact import MASK, Redactor

Object = Mapping[str, Any]
Sign = Literal["+", "~", "-"]
LONGEST = 160
MOST_LINES = 200
MOST_FIELDS = 20
_SECRET_FIELDS = ("data", "stringData", "binaryData")
_NOT_SECRETS = ("secretName", "secretKey", "secret", "tokenExpirationSeconds")
"""Fields of Kubernetes that only name where a secret is."""
_KEYS = ("name", "containerPort", "port", "key", "mountPath", "host", "path", "ip")
"""What tells the items of a list apart, the first that all have and that differ."""


class Key(NamedTuple):
    """What makes two objects the same one; the version of its API does not count."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"


class Field(NamedTuple):
    """One difference; a side that is not there is None. Redacted already."""

    path: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"+ {self.path}: {self.new}"
        if self.new is None:
            return f"- {self.path}: {self.old}"
        return f"~ {self.path}: {self.old} -> {self.new}"


@dataclass(frozen=True)
class Difference:
    """An object that is new, gone, or changed in some fields."""

    sign: Sign
    key: Key
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class _Hidden:
    """What must not be shown: by name, by shape, and all that is in a Secret on either side."""

    redact: Redactor
    values: frozenset[str] = field(default_factory=frozenset)

    def text(self, value: Any, name: str) -> str:
        if isinstance(value, str) and value in self.values:
            return MASK
        masked = self.redact.value(value, "" if name in _NOT_SECRETS else name)
        text = masked if isinstance(masked, str) else json.dumps(masked, sort_keys=True, default=str)
        for secret in self.values:
            text = text.replace(secret, MASK)
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def objects(manifest: str, namespace: str = "") -> dict[Key, Object]:
    """The objects of a manifest. One without a namespace gets none: whether it has one, the cluster knows;
    ``namespace`` is that of the release and is not shown.

    :raises InputError: it is not YAML, or a document in it is no object
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[Key, Object] = {}
    try:
        for document in yaml.load_all(manifest, loader):
            for item in _items(document):
                found[key_of(item, namespace)] = item
    except yaml.YAMLError as error:
        raise InputError(f"what the chart renders is not YAML: {error}") from error
    return found


def key_of(item: Object, namespace: str = "") -> Key:
    """The key of one object; ``namespace`` is the one that is not shown."""
    metadata = item.get("metadata") or {}
    group = str(item.get("apiVersion", "")).rpartition("/")[0]
    where = str(metadata.get("namespace") or "")
    return Key(group, str(item["kind"]), "" if where == namespace else where, str(metadata.get("name", "")))


def differences(
    old: Mapping[Key, Object], new: Mapping[Key, Object], redact: Redactor
) -> tuple[Difference, ...]:
    """What turns ``old`` into ``new``, in the order of API group, kind and name; what is gone comes first."""
    hidden = _Hidden(redact, _secrets([*old.values(), *new.values()]))
    gone = [Difference("-", key) for key in sorted(old.keys() - new.keys())]
    rest = []
    for key in sorted(new):
        if key not in old:
            rest.append(Difference("+", key))
        elif fields := tuple(_object_fields(key, old[key], new[key], hidden)):
            rest.append(Difference("~", key, fields))
    return (*gone, *rest)


def lines(found: Sequence[Difference], most: int = MOST_LINES) -> tuple[str, ...]:
    """Differences for people, at most about ``most`` lines; what is left out is counted."""
    shown: list[str] = []
    for number, difference in enumerate(found):
        shown.append(f"{difference.sign} {difference.key}")
        shown += [f"    {item}" for item in difference.fields[:MOST_FIELDS]]
        if (more := len(difference.fields) - MOST_FIELDS) > 0:
            shown.append(f"    … and {more} more fields")
        if len(shown) >= most and (rest := found[number + 1 :]):
            counts = ((sign, sum(item.sign == sign for item in rest)) for sign in "+~-")
            shown.append("… and " + ", ".join(f"{sign} {n}" for sign, n in counts if n) + " more objects")
            break
    return tuple(shown)


def digest_objects(found: Mapping[Key, Object]) -> str:
    """Digest of what the objects say; neither their order nor how they were written counts."""
    return digest([[list(key), json.loads(json.dumps(found[key], default=str))] for key in sorted(found)])


def _items(document: Any) -> Iterator[Object]:
    if document is None:
        return
    if not isinstance(document, Mapping) or not isinstance(document.get("kind"), str):
        raise InputError("the chart renders a document that is no Kubernetes object: it has no kind")
    if document["kind"] == "List":
        for item in document.get("items") or []:
            yield from _items(item)
    else:
        yield document


def _secrets(found: Iterable[Object]) -> frozenset[str]:
    """Every value in a Secret, in plain text and base64; very short ones would blank out ordinary text."""
    values: set[str] = set()
    for item in found:
        if item["kind"] != "Secret":
            continue
        for value in (item.get("stringData") or {}).values():
            values |= {str(value), base64.b64encode(str(value).encode()).decode()}
        for value in (item.get("data") or {}).values():
            values |= {str(value), _decoded(str(value))}
    return frozenset(value for value in values if len(value) >= 6)


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        return value


def _object_fields(key: Key, old: Object, new: Object, hidden: _Hidden) -> Iterator[Field]:
    for item in _fields("", old, new, hidden, ""):
        if key.kind == "Secret" and item.path.partition(".")[0] in _SECRET_FIELDS:
            yield Field(item.path, item.old and MASK, item.new and MASK)
        else:
            yield item


def _fields(path: str, old: Any, new: Any, hidden: _Hidden, name: str) -> Iterator[Field]:
    """Differences below ``path``; ``name`` is what the value is called: a key, or the name of its variable."""
    if _same(old, new):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            called = name if key == "value" and name else str(key)
            yield from _fields(_join(path, key), old.get(key), new.get(key), hidden, called)
    elif isinstance(old, list) and isinstance(new, list):
        by, before, after = _keyed(old, new)
        for item in [*before, *(item for item in after if item not in before)]:
            called = str(item) if by == "name" else name
            yield from _fields(f"{path}[{item}]", before.get(item), after.get(item), hidden, called)
    elif isinstance(old, str) and isinstance(new, str) and "\n" in old + new:
        yield from _text_fields(path, old, new, hidden, name)
    else:
        sides = (None if value is None else hidden.text(_named(value, name), name) for value in (old, new))
        yield Field(path, *sides)


def _named(value: Any, name: str) -> Any:
    """``[{"name": "TOKEN", "value": "x"}]`` as ``{"TOKEN": "x"}`` would be masked."""
    if isinstance(value, Mapping):
        if isinstance(value.get("name"), str) and isinstance(value.get("value"), str):
            return {"name": value["name"], "value": Redactor().value(value["value"], value["name"])}
        return {key: _named(item, str(key)) for key, item in value.items() if item is not None}
    return [_named(item, name) for item in value] if isinstance(value, list) else value


def _text_fields(path: str, old: str, new: str, hidden: _Hidden, name: str) -> Iterator[Field]:
    """A longer text: the first lines that differ."""
    before, after = old.splitlines(), new.splitlines()
    same = next((n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
    at = min(len(before), len(after)) if same is None else same
    sides = (hidden.text(side[at], name) if at < len(side) else None for side in (before, after))
    first = Field(f"{path} line {at + 1}", *sides)
    if first.old is None and first.new is None:
        first = Field(path, f"{len(before)} lines", f"{len(after)} lines, which differ in white space")
    yield first


def _same(old: Any, new: Any) -> bool:
    if type(old) is not type(new):
        return False
    if isinstance(old, Mapping):
        return old.keys() == new.keys() and all(_same(item, new[key]) for key, item in old.items())
    if isinstance(old, list):
        return len(old) == len(new) and all(_same(*pair) for pair in zip(old, new, strict=True))
    return bool(old == new)


def _keyed(old: list[Any], new: list[Any]) -> tuple[str, dict[Any, Any], dict[Any, Any]]:
    """Both lists by what tells their items apart, and what that is; by position where nothing does."""
    everything = [*old, *new]
    if all(isinstance(item, Mapping) for item in everything):
        for by in _KEYS:
            if all(by in item for item in everything):
                before, after = ({item[by]: item for item in side} for side in (old, new))
                if (len(before), len(after)) == (len(old), len(new)):
                    return by, before, after
    return "", dict(enumerate(old)), dict(enumerate(new))


def _join(path: str, key: Any) -> str:
    text = str(key)
    if "." in text or "/" in text:
        return f"{path}[{text}]"
    return f"{path}.{text}" if path else text
