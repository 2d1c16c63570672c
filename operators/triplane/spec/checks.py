"""What a schema cannot say: names, cycles, files, and what the modules beside this one check.

Works on the plain data, so that it finds its problems also where the schema is violated elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from triplane.spec import gate_checks, machine_checks, reference_checks, secret_checks
from triplane.spec.approvals import Approval
from triplane.spec.document import Document, Location, Problem, closest, mapping, names
from triplane.spec.graph import cycle
from triplane.spec.model import CLOUDS
from triplane.spec.notify import template_problem
from triplane.spec.reference_checks import declared_in, graph

_RESERVED = ("environment", "env", "secret", "variable", "connection", "gate")
_BUILDS_IN = {"codebuild": "aws", "cloud_build": "gcp", "acr_tasks": "azure"}
"""Builder -> the cloud whose service it is."""
_CALLED = {"aws": ("lambda",), "gcp": ("cloud_run", "cloud_functions"), "azure": ("azure_functions",)}
"""The targets whose functions streams and schedules call."""


def check(document: Document, source: Path | None) -> list[Problem]:
    """Every problem beyond the schema; without ``source`` the files are not looked at."""
    return [
        *_Checks(document, source).all(),
        *reference_checks.problems(document, source),
        *secret_checks.problems(document),
        *machine_checks.problems(document, source),
        *gate_checks.problems(document),
    ]


class _Checks:
    def __init__(self, document: Document, source: Path | None) -> None:
        self.document = document
        self.source = source

    def all(self) -> Iterator[Problem]:
        for cloud in CLOUDS:
            if self.get("clouds", cloud):
                yield from self.stacks(cloud)
                yield from self.images(cloud)
                yield from self.events(cloud)
                yield from self.required(cloud)
        yield from self.approvals()
        yield from self.notify()
        yield from self.builders()
        yield from self.signing()
        yield from self.tests()
        if self.source is not None:
            yield from self.files(self.source)

    def get(self, *path: str) -> Mapping[str, Any]:
        """The mapping at a place, empty where there is none."""
        return mapping(self.document.data, *path)

    def stacks(self, cloud: str) -> Iterator[Problem]:
        base = ("clouds", cloud, "stacks")
        stacks = self.get(*base)
        for name in stacks:
            if name in _RESERVED:
                message = f"a stack cannot be called '{name}': references use that word"
                yield self.document.problem((*base, name), message, on_key=True)
            for index, other in enumerate(names(stacks[name], "after")):
                if other not in stacks:
                    yield self._unknown((*base, name, "after", index), "stack", other, stacks)
            for variable, secret in mapping(stacks[name], "secrets").items():
                if str(secret) not in self.get("secrets"):
                    location = (*base, name, "secrets", variable)
                    yield self._unknown(location, "secret", str(secret), self.get("secrets"))
            yield from self._undeclared(cloud, name)
        if found := cycle(graph(self.document, cloud)):
            message = f"the stacks come after each other in a circle: {' -> '.join(found)}"
            yield self.document.problem((*base, found[0], "after"), message)

    def images(self, cloud: str) -> Iterator[Problem]:
        base = ("clouds", cloud)
        used: list[tuple[Location, Any]] = []
        for kind in ("manifests", "charts", "pipelines"):
            for name in self.get(*base, kind):
                place = (*base, kind, name, "images")
                used += [((*place, key), image) for key, image in self.get(*place).items()]
        for function, body in self.get(*base, "functions").items():
            if "image" in mapping(body):
                used.append(((*base, "functions", function, "image"), body["image"]))
        for location, image in used:
            if str(image) not in self.get("images"):
                yield self._unknown(location, "image", str(image), self.get("images"), "nothing builds it")
        if used and not self.get(*base).get("registry"):
            yield self.document.problem(base, f"{cloud} uses images, but has no 'registry'", on_key=True)

    def events(self, cloud: str) -> Iterator[Problem]:
        """Functions that streams and schedules call, but nothing deploys or the service cannot reach."""
        functions = self.get("clouds", cloud, "functions")
        for kind in ("streams", "schedules"):
            for name, body in self.get("clouds", cloud, kind).items():
                location = ("clouds", cloud, kind, name, "function")
                called = mapping(body).get("function")
                if not isinstance(called, str):
                    continue
                if called not in functions:
                    yield self._unknown(location, "function", called, functions)
                elif (target := mapping(functions[called]).get("target")) not in _CALLED[cloud]:
                    message = f"{kind} call {' and '.join(_CALLED[cloud])} in {cloud}, '{called}' is {target}"
                    yield self.document.problem(location, message)

    def builders(self) -> Iterator[Problem]:
        """What each image's builder needs, and what it cannot do."""
        for name in self.get("images"):
            body = self.get("images", name)
            builder = str(body.get("builder", "auto"))
            if len(names(body, "platforms")) > 1 and builder in ("docker", *_BUILDS_IN):
                message = f"{builder} builds for one platform at a time"
                yield self.document.problem(("images", name, "platforms"), message, "set builder: buildah")
            if (cloud := _BUILDS_IN.get(builder)) is None:
                continue
            needs = ("registry", "codebuild") if builder == "codebuild" else ("registry",)
            for key in needs:
                if not self.get("clouds", cloud).get(key):
                    message = f"{builder} builds in {cloud}, which has no '{key}' here"
                    yield self.document.problem(("images", name, "builder"), message)

    def approvals(self) -> Iterator[Problem]:
        """Groups that are not there, and approvals that nobody could ever give."""
        groups = {name: names(self.get("groups"), name) for name in self.get("groups")}
        for name in self.get("environments"):
            place = ("environments", name, "approval")
            for risk in self.get(*place, "required"):
                for index, group in enumerate(names(self.get(*place, "required"), risk)):
                    if group not in groups:
                        yield self._unknown((*place, "required", risk, index), "group", group, groups)
            try:
                approval = Approval.model_validate(dict(self.get(*place)))
            except ValidationError:
                continue
            for text in approval.problems(groups):
                yield self.document.problem(place, text, on_key=True)

    def notify(self) -> Iterator[Problem]:
        """Environments that are not there, and templates that could not be rendered."""
        for name, route in self.get("notify").items():
            for index, environment in enumerate(names(route, "environments")):
                if environment not in self.get("environments"):
                    place = ("notify", name, "environments", index)
                    yield self._unknown(place, "environment", environment, self.get("environments"))
            if isinstance(template := mapping(route).get("template"), str) and (
                text := template_problem(template)
            ):
                yield self.document.problem(("notify", name, "template"), text)

    def signing(self) -> Iterator[Problem]:
        """Secrets that are not there."""
        secrets = self.get("secrets")
        for part, name in self.get("signing").items():
            named = part in ("key", "password") and isinstance(name, str) and "://" not in name
            if named and name not in secrets:
                yield self._unknown(("signing", part), "secret", name, secrets)

    def tests(self) -> Iterator[Problem]:
        for name in self.get("tests"):
            body = self.get("tests", name)
            image, cloud = body.get("image"), body.get("cloud")
            if image is not None and str(image) not in self.get("images"):
                place = ("tests", name, "image")
                yield self._unknown(place, "image", str(image), self.get("images"), "nothing builds it")
            if cloud in CLOUDS:
                for needed in ("cluster", "registry"):
                    if not self.get("clouds", str(cloud)).get(needed):
                        message = f"{cloud} has no '{needed}' to run tests with"
                        yield self.document.problem(("tests", name, "cloud"), message)

    def required(self, cloud: str) -> Iterator[Problem]:
        body = self.get("clouds", cloud)
        for part, needs in (("stacks", "state"), ("manifests", "cluster"), ("charts", "cluster")):
            if body.get(part) and not body.get(needs):
                message = f"{cloud} has {part}, but no '{needs}'"
                yield self.document.problem(("clouds", cloud, part), message, on_key=True)

    def _undeclared(self, cloud: str, stack: str) -> Iterator[Problem]:
        """Values for variables that the stack's module does not have."""
        declared = declared_in(self.document, self.source, "variable", cloud, stack)
        for part in ("variables", "secrets"):
            base = ("clouds", cloud, "stacks", stack, part)
            for name in self.get(*base):
                if declared and name not in declared:
                    message = f"the stack '{stack}' has no variable '{name}'"
                    yield self.document.problem((*base, name), message, closest(name, declared), on_key=True)

    def files(self, source: Path) -> Iterator[Problem]:
        for location, path in self._paths():
            target = source / path
            if Path(path).is_absolute() or ".." in Path(path).parts:
                continue  # the schema says so already
            if not target.resolve().is_relative_to(source.resolve()):
                yield self.document.problem(location, f"{path} leads outside the source")
            elif not target.is_dir():
                message = f"{path} is not a directory" if target.exists() else f"{path} does not exist"
                yield self.document.problem(location, message)
        for name in self.get("images"):
            body = self.get("images", name)
            context, dockerfile = str(body.get("context")), str(body.get("dockerfile", "Dockerfile"))
            if (source / context).is_dir() and not (source / context / dockerfile).is_file():
                yield self.document.problem(("images", name), f"{context} has no {dockerfile}")
        yield from self._values_files(source)

    def _values_files(self, source: Path) -> Iterator[Problem]:
        """Files with values that are missing in some environment."""
        for cloud in CLOUDS:
            for chart, body in self.get("clouds", cloud, "charts").items():
                for index, name in enumerate(names(body, "values_files")):
                    location = ("clouds", cloud, "charts", chart, "values_files", index)
                    named = dict.fromkeys(name.replace("${environment}", e) for e in self.get("environments"))
                    for file in named:
                        if "$" not in file and not (source / file).is_file():
                            yield self.document.problem(location, f"{file} is not a file of the source")

    def _paths(self) -> Iterator[tuple[Location, str]]:
        if isinstance(policies := mapping(self.document.data).get("policies"), str):
            yield ("policies",), policies
        for name in self.get("tests"):
            if isinstance(path := self.get("tests", name).get("path"), str):
                yield ("tests", name, "path"), path
        for image in self.get("images"):
            if isinstance(path := self.get("images", image).get("context"), str):
                yield ("images", image, "context"), path
        for cloud in CLOUDS:
            for kind in ("stacks", "manifests", "charts", "functions"):
                for name, body in self.get("clouds", cloud, kind).items():
                    if isinstance(path := mapping(body).get("path"), str):
                        yield ("clouds", cloud, kind, name, "path"), path

    def _unknown(
        self, location: Location, kind: str, name: str, known: Mapping[str, Any], hint: str = ""
    ) -> Problem:
        return self.document.problem(location, f"there is no {kind} '{name}'", closest(name, known) or hint)
