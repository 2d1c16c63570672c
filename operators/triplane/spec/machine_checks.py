"""What a schema cannot say about machines: secrets, order, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from triplane.core.logins import LOGINS
from triplane.spec.document import Document, Location, Problem, mapping
from triplane.spec.graph import cycle


def problems(document: Document, source: Path | None) -> Iterator[Problem]:
    """Of the machines of all clouds; without ``source`` the files are not looked at."""
    for cloud, body in mapping(document.data, "clouds").items():
        machines = mapping(body, "machines")
        base: Location = ("clouds", cloud, "machines")
        yield from _names(document, base, machines)
        if source is not None:
            for location, path in _files(document, base, machines):
                if Path(path).is_absolute() or ".." in Path(path).parts or "$" in path:
                    continue  # the schema says so already
                if not (source / path).is_file():
                    yield document.problem(location, f"{path} is not a file of the source")


def _names(document: Document, base: Location, machines: Mapping[str, Any]) -> Iterator[Problem]:
    secrets = mapping(document.data, "secrets")
    graph = {}
    for name in machines:
        body = mapping(machines, name)
        after = body.get("after")
        graph[name] = [str(other) for other in after] if isinstance(after, list) else []
        for index, other in enumerate(graph[name]):
            if other not in machines:
                yield document.problem((*base, name, "after", index), f"there are no machines '{other}'")
        login = str(body.get("login"))
        if LOGINS.get(login, base[1]) != base[1]:
            yield document.problem(
                (*base, name, "login"), f"{login} is a way into machines of {LOGINS[login]}"
            )
        for key in ("key", "vault_password"):
            if isinstance(secret := body.get(key), str) and secret not in secrets:
                yield document.problem((*base, name, key), f"there is no secret '{secret}'")
    if found := cycle(graph):
        message = f"the machines come after each other in a circle: {' -> '.join(found)}"
        yield document.problem((*base, found[0], "after"), message)


def _files(document: Document, base: Location, machines: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Every file that is named, in every environment."""
    for name in machines:
        body = mapping(machines, name)
        for key in ("playbook", "destroy_playbook"):
            if isinstance(path := body.get(key), str):
                yield (*base, name, key), path
        inventory = body.get("inventory")
        for index, path in enumerate(inventory if isinstance(inventory, list) else []):
            for environment in mapping(document.data, "environments"):
                yield (*base, name, "inventory", index), str(path).replace("${environment}", environment)
