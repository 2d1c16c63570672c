"""Everything that exists in the sandbox's project, by full resource name."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triplane.sandbox.gcp.errors import conflict, invalid, not_found
from triplane.sandbox.gcp.operations import Operations

PROJECT = "triplane-sandbox"
PROJECT_NUMBER = "100000000001"
REGION = "europe-west1"
Body = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One checked request: the method's id, its path and query parameters, its body, and who asks."""

    id: str
    params: dict[str, Any]
    body: Body
    caller: str
    path: str


Handler = Callable[[Call], Body]


@dataclass
class State:
    """Resources, operations and IAM policies. ``home`` is the sandbox's state directory."""

    home: Path
    operations: Operations = field(default_factory=Operations)
    resources: dict[str, Body] = field(default_factory=dict)
    policies: dict[str, Body] = field(default_factory=dict)

    def get(self, name: str) -> Body:
        """A copy of the resource. Raises 404."""
        return copy.deepcopy(self.live(name))

    def live(self, name: str) -> Body:
        """The resource itself. Raises 404."""
        if name not in self.resources:
            raise not_found(name)
        return self.resources[name]

    def require_absent(self, name: str) -> None:
        """Raises 409 when there is such a resource."""
        if name in self.resources:
            raise conflict(name)

    def below(self, collection: str) -> list[Body]:
        """The resources directly in ``projects/p/locations/l/services``; a ``-`` stands for any part."""
        wanted = collection.split("/")
        return [
            copy.deepcopy(body) for name, body in self.resources.items() if _inside(name.split("/"), wanted)
        ]

    def remove(self, name: str) -> Body:
        """Remove the resource and return it. Raises 404."""
        found = self.get(name)
        del self.resources[name]
        return found


def _inside(parts: list[str], collection: list[str]) -> bool:
    if len(parts) != len(collection) + 1:
        return False
    return all(want in {part, "-"} for want, part in zip(collection, parts, strict=False))


def merge(target: Body, patch: Body, mask: str | None) -> None:
    """Set the fields of ``patch`` that the comma separated ``mask`` names, all of them without a mask.

    A field that the mask names and the patch lacks is cleared, as Google's APIs do. Raises 400 for a path
    that is not a field's name.
    """
    paths = [path.strip() for path in (mask or "").split(",") if path.strip()]
    if not paths or paths == ["*"]:
        target.update(copy.deepcopy(patch))
        return
    for path in paths:
        _copy(target, patch, [_camel(part) for part in path.split(".")], path)


def _copy(target: Body, patch: Body, parts: list[str], path: str) -> None:
    head, *rest = parts
    if not head.isidentifier():
        raise invalid("update_mask", f"Invalid field path '{path}'")
    if not rest:
        if head in patch:
            target[head] = copy.deepcopy(patch[head])
        else:
            target.pop(head, None)
        return
    inner = patch.get(head)
    _copy(target.setdefault(head, {}), inner if isinstance(inner, dict) else {}, rest, path)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def etag(body: Body) -> str:
    """A quoted digest of ``body``, as Google's APIs give it for optimistic locking."""
    data = json.dumps({key: value for key, value in body.items() if key != "etag"}, sort_keys=True)
    return '"' + hashlib.sha256(data.encode()).hexdigest()[:26] + '"'
