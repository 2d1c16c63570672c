"""Order in a graph of names: node -> the nodes it comes after. Ties keep the order of writing."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

Graph = Mapping[str, Sequence[str]]


def waves(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """The nodes in waves, each after all it comes after; ``ValueError`` if the graph has a cycle."""
    done: set[str] = set()
    result: list[tuple[str, ...]] = []
    while len(done) < len(graph):
        wave = tuple(node for node in graph if node not in done and done.issuperset(graph[node]))
        if not wave:
            raise ValueError(f"no order: {' -> '.join(cycle(graph) or ())}")
        done.update(wave)
        result.append(wave)
    return tuple(result)


def order(graph: Graph) -> tuple[str, ...]:
    """The nodes one by one, wave after wave."""
    return tuple(node for wave in waves(graph) for node in wave)


def upstream(graph: Graph, node: str) -> set[str]:
    """All nodes that ``node`` comes after, directly or not; unknown names are left out."""
    found: set[str] = set()
    waiting = list(graph.get(node, ()))
    while waiting:
        name = waiting.pop()
        if name in graph and name not in found:
            found.add(name)
            waiting.extend(graph[name])
    return found


def cycle(graph: Graph) -> tuple[str, ...] | None:
    """A shortest cycle of the first node that is in one, that node at both ends (``a, b, a``), or None."""
    start = next((node for node in graph if node in upstream(graph, node)), None)
    if start is None:
        return None
    paths: deque[tuple[str, ...]] = deque([(start,)])
    seen: set[str] = set()
    while True:
        path = paths.popleft()
        for name in graph.get(path[-1], ()):
            if name == start:
                return (*path, name)
            if name not in seen:
                seen.add(name)
                paths.append((*path, name))
