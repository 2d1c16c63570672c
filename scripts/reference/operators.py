"""Operators, sensors, triggers and notifiers, from their signatures and docstrings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

from airflow.sdk import BaseNotifier, BaseOperator
from airflow.triggers.base import BaseTrigger
from scripts.reference.markdown import page, parameters, table, text

import triplane

BASES = (BaseOperator, BaseTrigger, BaseNotifier)
ROOMS = {
    "terraform": "Terraform",
    "images": "Images",
    "kubernetes": "Kubernetes",
    "machines": "Virtual machines",
    "serverless": "Functions, streams and schedules",
    "pipelines": "Native pipelines",
    "source": "Source",
    "testing": "Tests",
    "secrets": "Secrets",
    "gates": "Gates",
    "approval": "Approvals",
    "rollout": "Rollouts",
    "drift": "Drift",
    "notify": "Notifications",
    "forge": "GitHub and GitLab",
    "applying": "What several share",
    "checking": "What several share",
}
INTRO = (
    "Everything that runs as a task, by feature, with where it is imported from. All arguments are keyword-only; "
    "those of Airflow's own base classes (`task_id`, `retries`, …) work too. Templated fields are rendered by Jinja. "
    "The DAGs that come with Triplane are made of the same classes; for a DAG of your own begin with the guide of the feature."
)


def reference() -> str:
    """The page."""
    found = _classes()
    titles = dict.fromkeys(ROOMS.values())
    parts = []
    for title in titles:
        rooms = [room for room, name in ROOMS.items() if name == title]
        inside = [kind for kind in found if _room(kind) in rooms]
        parts += [f"## {title}", *(_section(kind, found) for kind in inside)]
    missing = [kind.__qualname__ for kind in found if _room(kind) not in ROOMS]
    assert not missing, f"no room is known for {missing}: add it to ROOMS"
    return page("Operators", INTRO, parts)


def _classes() -> dict[type, str]:
    """Public class -> the module that it is imported from, the shortest one."""
    found: dict[type, str] = {}
    for info in pkgutil.walk_packages(triplane.__path__, "triplane."):
        if info.name.startswith("triplane.sandbox") or info.name.endswith("__main__"):
            continue
        if "machines.callback" in info.name:
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if not inspect.isclass(value) or not issubclass(value, BASES) or name.startswith("_"):
                continue
            here = value.__module__ == info.name or name in getattr(module, "__all__", ())
            if value.__module__.startswith("triplane.") and here:
                found[value] = min(
                    found.get(value, info.name), info.name, key=lambda path: (path.count("."), path)
                )
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0].__name__)))


def _room(kind: type) -> str:
    return kind.__module__.split(".")[1]


def _section(kind: type, known: dict[type, str]) -> str:
    bases = list(_bases(kind, known))
    own = list(_parameters(kind, known))
    parts = [f"### {kind.__name__}", f"`from {known[kind]} import {kind.__name__}`", text(kind.__doc__)]
    if bases:
        linked = " and ".join(f"[{base.__name__}](#{base.__name__.lower()})" for base in bases)
        parts.append(f"Arguments: those of {linked}{', and' if own else '.'}")
    parts.append(table(("parameter", "type", "default", "meaning"), own))
    fields = list(dict.fromkeys(getattr(kind, "template_fields", ())))
    if fields:
        parts.append("Templated: " + ", ".join(f"`{field}`" for field in fields))
    return "\n\n".join(part for part in parts if part)


def _bases(kind: type, known: dict[type, str]) -> Iterator[type]:
    """The next classes above it that have a section of their own."""
    for base in kind.__bases__:
        if base in known:
            yield base
        else:
            yield from _bases(base, known)


def _parameters(kind: type, known: dict[type, str]) -> Iterator[tuple[str, str, str, str]]:
    """Those of its own constructor, and of private classes between it and those that have a section."""
    lineage = [kind]
    for each in kind.__mro__[1:]:
        if each in known or not each.__module__.startswith("triplane."):
            break
        lineage.append(each)
    said: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        said |= parameters(each.__doc__) | parameters(vars(each).get("__init__", each).__doc__)
    seen = set()
    for each in lineage:
        if "__init__" not in vars(each):
            continue
        for name, parameter in inspect.signature(vars(each)["__init__"]).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY and name not in seen:
                seen.add(name)
                yield f"`{name}`", _type(parameter), _default(parameter), said.get(name, "")


def _type(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    return "" if annotation is parameter.empty else f"`{annotation}`"


def _default(parameter: inspect.Parameter) -> str:
    return "needed" if parameter.default is parameter.empty else f"`{parameter.default!r}`"
