"""Which references are replaced where in a spec, and whether what they name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from triplane.core.references import references
from triplane.spec import gate_checks
from triplane.spec.document import Document, Location, Problem, closest, mapping, names
from triplane.spec.graph import upstream
from triplane.spec.model import CLOUDS

_FIXED = (
    "connection",
    "region",
    "project",
    "resource_group",
    "location",
    "registry",
    "state",
    "codebuild",
    "cloud_build",
)
"""Keys of a cloud that are the same in every environment."""
_ENVIRONMENT = "${environment} and ${env.<variable>}"


class Replaced(Enum):
    """Which references are replaced at a place of the spec; the value says it."""

    ALL = ""
    IN_IMAGES = f"an image is built once for all clouds: only {_ENVIRONMENT} are known here"
    IN_NAMES = f"a name is fixed before stacks are applied: only {_ENVIRONMENT} are known here"
    IN_TESTS = (
        f"tests run before stacks are applied: only {_ENVIRONMENT} and ${{secret.<name>}} are known here"
    )
    IN_PIPELINES = "everybody sees what a pipeline is given: let it fetch its secrets by itself"
    IN_GATES = f"a gate knows only {_ENVIRONMENT}, and of a function ${{gate.name}}, ${{gate.version}} and ${{gate.previous}}"
    NONE = "references are not replaced here"


def problems(document: Document, source: Path | None) -> Iterator[Problem]:
    """Of every reference in the spec; without ``source`` the outputs of stacks are not looked at."""
    checks = _References(document, source)
    for location, text in _strings(document.data, ()):
        yield from checks.of(location, text)


class _References:
    def __init__(self, document: Document, source: Path | None) -> None:
        self.document = document
        self.source = source

    def of(self, location: Location, text: str) -> Iterator[Problem]:
        """Each reference in one string of the spec."""
        known, replaced = references(text), replaced_at(location)
        if replaced is None:
            return
        for written in re.findall(r"\$\{[^}]*\}?", text):
            name = written.strip("${} ")
            if replaced is Replaced.NONE:
                yield self.document.problem(location, f"{written}: {replaced.value}", part=written)
            elif name not in known:
                message = f"'{written}' is not a reference"
                yield self.document.problem(location, message, "write ${stack.output}", part=written)
            elif problem := self._reference(location, name, replaced):
                message, hint = problem
                yield self.document.problem(location, f"${{{name}}}: {message}", hint, part=written)

    def _reference(self, location: Location, name: str, replaced: Replaced) -> tuple[str, str] | None:
        head, _, rest = name.partition(".")
        if name == "environment":
            return None
        if head == "env":
            return self._variable(rest)
        if replaced is Replaced.IN_GATES and name in gate_checks.FUNCTION_NAMES:
            return None
        if replaced not in (Replaced.ALL, Replaced.IN_TESTS, Replaced.IN_PIPELINES):
            return replaced.value, ""
        if head == "secret" and replaced is Replaced.IN_PIPELINES:
            return replaced.value, ""
        if head == "secret":
            secrets = mapping(self.document.data, "secrets")
            return None if rest in secrets else ("there is no such secret", closest(rest, secrets))
        if replaced is Replaced.IN_TESTS:
            return replaced.value, ""
        return self._output(str(location[1]), location, head, rest)

    def _variable(self, name: str) -> tuple[str, str] | None:
        environments = mapping(self.document.data, "environments")
        without = [e for e, body in environments.items() if name not in mapping(body, "variables")]
        if not without:
            return None
        known = {key for body in environments.values() for key in mapping(body, "variables")}
        return f"not a variable of {', '.join(without)}", "" if name in known else closest(name, known)

    def _output(self, cloud: str, location: Location, stack: str, output: str) -> tuple[str, str] | None:
        stacks = graph(self.document, cloud)
        if stack not in stacks:
            return f"{cloud} has no stack '{stack}'", closest(stack, stacks)
        if location[2] == "stacks" and stack not in upstream(stacks, str(location[3])):
            return f"'{location[3]}' does not come after '{stack}'", f"add it: after: [{stack}]"
        if not output:
            return "which output?", f"write ${{{stack}.<output>}}"
        declared = declared_in(self.document, self.source, "output", cloud, stack)
        if declared and output.partition(".")[0] not in declared:
            return f"the stack '{stack}' has no output '{output}'", closest(output, declared)
        return None


def graph(document: Document, cloud: str) -> dict[str, Sequence[str]]:
    """Stack -> those that it comes after."""
    return {
        name: names(body, "after") for name, body in mapping(document.data, "clouds", cloud, "stacks").items()
    }


def declared_in(document: Document, source: Path | None, kind: str, cloud: str, stack: str) -> set[str]:
    """The outputs or variables in a stack's files; empty where they are not looked at."""
    path = mapping(document.data, "clouds", cloud, "stacks", stack).get("path")
    if source is None or not isinstance(path, str):
        return set()
    files = [file for glob in ("*.tf", "*.tofu") for file in sorted((source / path).glob(glob))]
    texts = (file.read_text("utf-8", "replace") for file in files)
    return {name for text in texts for name in re.findall(rf'^\s*{kind}\s+"([^"]+)"', text, re.M)}


def replaced_at(location: Location) -> Replaced | None:
    """What is replaced at a place; None where something else says what is wrong: paths, unknown keys."""
    match location:
        case ("clouds", cloud, *_) if cloud not in CLOUDS:
            return None
        case ("clouds", _, "functions" | "streams" | "schedules", _, "name"):
            return Replaced.IN_NAMES
        case ("clouds", _, "streams" | "schedules", _, key, *_) if key not in ("target", "function"):
            return Replaced.ALL
        case ("clouds", _, "functions", _, key, *_) if key not in ("target", "path", "image", "gate"):
            return Replaced.ALL
        case ("clouds", _, "pipelines", _, key, *_) if key not in ("kind", "images", "connection"):
            return Replaced.IN_PIPELINES
        case (
            ("clouds", _, "cluster")
            | ("clouds", _, "stacks", _, "variables", *_)
            | ("clouds", _, "charts", _, "values", *_)
            | ("clouds", _, "manifests", _, "config" | "secrets" | "workloads", *_)
            | ("clouds", _, "manifests", _, "external_secrets" | "csi_secrets", *_)
            | (
                "clouds",
                _,
                "machines",
                _,
                "hosts" | "variables" | "known_hosts" | "ssh" | "user" | "gate",
                *_,
            )
        ):
            return Replaced.ALL
        case ("images", _, "args" | "labels", *_):
            return Replaced.IN_IMAGES
        case ("gates", _, _, "connection"):
            return Replaced.NONE
        case ("gates", *_):
            return Replaced.IN_GATES
        case ("tests", _, "environment", *_):
            return Replaced.IN_TESTS
        case (
            ("environments", _, "variables", *_)
            | ("secrets" | "signing", *_)
            | ("clouds", _, "charts" | "manifests", _, "namespace")
            | ("notify", _, "slack" | "teams" | "email" | "webhook" | "sns" | "pubsub" | "event_grid", *_)
            | ("source", *_)
        ):
            return Replaced.NONE
        case ("clouds", _, "charts", _, "repository" | "chart" | "version" | "connection"):
            return Replaced.NONE
        case ("clouds", _, key, *_) if key in _FIXED:
            return Replaced.NONE
    return None


def _strings(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    if isinstance(value, str):
        yield location, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(item, (*location, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, (*location, index))
