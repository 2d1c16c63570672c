"""What tasks hand on by XCom, sealed: XComs can be edited through the API."""

from __future__ import annotations

import ast
import hmac
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from triplane import settings
from triplane.core import keys
from triplane.core.digest import canonical_json
from triplane.core.errors import RefusedError

if TYPE_CHECKING:
    from triplane.core.change import ComponentChange


def seal(context: Any, change: ComponentChange) -> dict[str, Any]:
    """``change`` for XCom, sealed for this run where ``[triplane] signing_key`` is set.

    Without the seal a plan's risk could be talked down before people are asked.
    """
    value = change.to_json()
    run = context.get("dag_run")
    if run is None or not settings.has_signing_key():
        return value
    return value | {"seal": keys.seal(settings.signing_keys()[0], _plan(run, value))}


def unseal(context: Any, value: Any) -> ComponentChange:
    """The inverse of :func:`seal`. :raises RefusedError: a plan task of this run did not return ``value``"""
    from triplane.core.change import ComponentChange

    change = ComponentChange.from_json(value)
    if not _sealed(_plan(context["dag_run"], change.to_json()), value):
        raise RefusedError(f"{change.address}: the plan was changed after its task returned it; plan again")
    return change


def seal_tests(result: Mapping[str, Any]) -> dict[str, Any]:
    """What tests found, for XCom, sealed for their source and image where ``[triplane] signing_key`` is set."""
    if not settings.has_signing_key():
        return dict(result)
    return {**result, "seal": keys.seal(settings.signing_keys()[0], _tests(result))}


def unseal_tests(value: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`seal_tests`. :raises RefusedError: no test task returned ``value``"""
    content = {name: item for name, item in value.items() if name != "seal"}
    if not _sealed(_tests(content), value):
        raise RefusedError(
            f"the result of the tests {content.get('name')} was changed after their task returned it; start a new run"
        )
    return content


def pending(changes: Mapping[str, Any]) -> list[str]:
    """The names of those of ``changes`` (name -> what a plan's task returned) that change something."""
    found = {name: read_change(value) for name, value in changes.items()}
    return [name for name, change in found.items() if change is not None and change.changed]


def read_change(value: Any) -> ComponentChange | None:
    """A change as an operator gets it from XCom: a value, its JSON, or what a template made of it."""
    from triplane.core.change import ComponentChange

    if isinstance(value, str):
        if value.strip() in ("", "None", "null"):
            return None
        try:
            value = json.loads(value)
        except ValueError:
            value = ast.literal_eval(value)
    return None if value is None else ComponentChange.from_json(value)


def _plan(run: Any, content: Mapping[str, Any]) -> bytes:
    return canonical_json(["plan", run.dag_id, run.run_id, dict(content)])


def _tests(content: Mapping[str, Any]) -> bytes:
    return canonical_json(["tests", dict(content)])


def _sealed(data: bytes, value: Mapping[str, Any]) -> bool:
    """Whether one of our keys made the ``seal`` in ``value`` for ``data``."""
    found = str(value.get("seal", ""))
    return any(hmac.compare_digest(found, keys.seal(key, data)) for key in settings.signing_keys())
