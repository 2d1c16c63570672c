"""What a schema cannot say about gates: that they are there, and that what they ask is known where they judge."""

from __future__ import annotations

from collections.abc import Iterator

from triplane.core.references import references
from triplane.spec.document import Document, Location, Problem, closest, mapping

FUNCTION_NAMES = ("gate.name", "gate.version", "gate.previous")
"""What only a gate of a function knows."""


def problems(document: Document) -> Iterator[Problem]:
    """Of all places that name gates."""
    gates = mapping(document.data, "gates")
    for location, in_function in _places(document):
        body = mapping(document.data, *(str(step) for step in location[:-1]))
        written = body.get(str(location[-1]))
        names = [written] if isinstance(written, str) else written if isinstance(written, list) else []
        for index, name in enumerate(names):
            place = location if isinstance(written, str) else (*location, index)
            if name not in gates:
                hint = closest(str(name), gates) or "name it under `gates:`"
                yield document.problem(place, f"there is no gate '{name}'", hint)
            elif not in_function and (used := references(gates[name]) & {*FUNCTION_NAMES}):
                message = f"the gate '{name}' asks about ${{{min(used)}}}, which only a function has"
                yield document.problem(place, message)


def _places(document: Document) -> Iterator[tuple[Location, bool]]:
    """Where gates are named, and whether a function is judged there."""
    yield ("release", "gate"), False
    for name in mapping(document.data, "environments"):
        yield ("environments", name, "release", "gate"), False
    for cloud in mapping(document.data, "clouds"):
        for kind in ("stacks", "charts", "functions"):
            for name in mapping(document.data, "clouds", cloud, kind):
                yield ("clouds", cloud, kind, name, "gate"), kind == "functions"
