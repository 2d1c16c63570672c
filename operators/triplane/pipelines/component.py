"""A pipeline as a component of a platform: whether it has to run, and what for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from triplane.core.change import ComponentChange, Risk
from triplane.core.digest import canonical_json, digest
from triplane.core.errors import InputError, StaleError
from triplane.core.git import WORKING_TREE
from triplane.core.references import resolve

if TYPE_CHECKING:
    from triplane.core.store import ArtifactStore

IMAGE = "image "
LATER = "(known when it runs)"


@dataclass(frozen=True, kw_only=True)
class Written:
    """A pipeline as the spec has it, for one environment. ``at_commit``: at the commit that is deployed, which goes to
    the input ``revision_input`` if that is named, else to the pipeline's source. ``images``: name -> reference.
    """

    system: str
    options: Mapping[str, Any]
    inputs: Mapping[str, Any]
    at_commit: bool = True
    revision_input: str = ""
    images: Mapping[str, str] = field(default_factory=dict)

    @property
    def takes_commit(self) -> bool:
        """Whether the pipeline is told which commit is deployed."""
        return self.at_commit or bool(self.revision_input)

    @property
    def digest(self) -> str:
        """What an approval is bound to, beside the commit and the images."""
        return digest(
            [self.system, dict(self.options), dict(self.inputs), self.at_commit, self.revision_input]
        )

    def resolved(self, commit: str, lookup: Callable[[str], Any]) -> Job:
        """What is to run. :raises InputError: a value is not there yet, or the commit is none"""
        if self.takes_commit and commit == WORKING_TREE:
            raise InputError(
                "the platform is not in a git repository, so there is no commit for the pipeline: commit it, or set "
                "`revision: newest`"
            )
        options: dict[str, Any] = dict(resolve(dict(self.options), lookup))
        inputs = {name: _text(value) for name, value in resolve(dict(self.inputs), lookup).items()}
        if self.system == "cloud_deploy":
            options["images"] = dict(self.images)
        else:
            inputs |= self.images
        if self.revision_input:
            inputs[self.revision_input] = commit
        source = self.at_commit and not self.revision_input
        return Job(options=options, inputs=inputs, revision=commit if source else "")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the operator takes."""

    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    revision: str

    @property
    def key(self) -> str:
        """The same for the same pipeline with the same inputs at the same commit, as far as it is told of that."""
        return digest([dict(self.options), dict(self.inputs), self.revision])


@dataclass(frozen=True, kw_only=True)
class Good:
    """The last run of a component that succeeded. ``took`` is the revision that the system says it had, ``inputs`` are the
    images too.
    """

    key: str
    commit: str
    run: str
    took: str = ""
    link: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)


class Memory:
    """What is kept of a component in the artifact store."""

    def __init__(self, store: ArtifactStore, scope: str, address: str) -> None:
        self._store = store
        self._name = f"pipelines/{scope}/{address}"

    def read(self) -> Good | None:
        """None if it has not run well yet, or was destroyed."""
        value = json.loads(self._store.get_named(self._name) or b"null")
        return Good(**value) if value else None

    def keep(self, good: Good | None) -> None:
        """From now on this was the last one."""
        self._store.put_named(self._name, canonical_json(vars(good) if good else None))


def plan(
    address: str,
    written: Written,
    commit: str,
    job: Job | None,
    good: Good | None,
    *,
    risk: str = "medium",
    leave: bool = False,
) -> ComponentChange:
    """Whether it runs. ``job`` is None where it depends on what is not applied yet, ``leave`` keeps it from running."""
    binds = {"written": written.digest, "commit": commit}
    binds |= {f"{IMAGE}{name}": reference for name, reference in sorted(written.images.items())}
    if leave or (good and job and job.key == good.key):
        said = f"was run at {_short(good.commit)}: {good.run}" if good else "is left alone"
        return ComponentChange(address=address, action="none", risk=Risk.NONE, summary=said, binds=binds)
    return ComponentChange(
        address=address,
        action="update" if good else "create",
        risk=Risk.parse(risk),
        summary=f"{written.system} runs {_named(written)} {_at(written, commit)}",
        lines=tuple(_lines(written, commit, job, good)),
        binds=binds,
    )


def plan_to_destroy(address: str, written: Written, good: Good | None) -> ComponentChange:
    """A run cannot be taken back; only what is known of it is forgotten, so that the next deployment runs it again."""
    binds = {"written": written.digest}
    if good is None:
        return ComponentChange(
            address=address, action="none", risk=Risk.NONE, summary="has not been run", binds=binds
        )
    said = f"its last run ({good.run}) is forgotten; what that has deployed is left alone"
    return ComponentChange(address=address, action="destroy", risk=Risk.LOW, summary=said, binds=binds)


def check(approved: ComponentChange, written: Written, commit: str) -> None:
    """Make sure that what is about to run is what was approved. :raises StaleError: it is not"""
    now = {"written": written.digest, "commit": commit}
    for name, value in now.items():
        if approved.binds.get(name) != value:
            raise StaleError(f"{approved.address}: its {name} is not what was approved; plan again")


def images(approved: ComponentChange) -> dict[str, str]:
    """The images that were approved."""
    found = approved.binds.items()
    return {name.removeprefix(IMAGE): str(value) for name, value in found if name.startswith(IMAGE)}


def _lines(written: Written, commit: str, job: Job | None, good: Good | None) -> list[str]:
    """What it is given, and what of that is new since the last good run."""
    if job is None:
        inputs = {
            name: LATER if "${" in _text(value) else _text(value) for name, value in written.inputs.items()
        }
    else:
        inputs = dict(job.inputs)
    inputs |= written.images
    before = good.inputs if good else {}
    lines = []
    if written.takes_commit and good and good.commit != commit:
        lines.append(f"~ commit: {_short(good.commit)} -> {_short(commit)}")
    for name in sorted({*inputs, *before}):
        value, was = inputs.get(name), before.get(name)
        if value is None:
            lines.append(f"~ input {name}: {was} -> (none)")
        elif was is None or not good:
            lines.append(f"~ input {name}: {value}")
        elif value != was:
            lines.append(f"~ input {name}: {was} -> {value}")
    return lines


def _named(written: Written) -> str:
    options = written.options
    name = next((options[key] for key in ("pipeline", "workflow", "project") if key in options), "")
    place = options.get("repository") or (options.get("project") if "pipeline" in options else "")
    return (
        f"{place}: {name}" if place and written.system in ("azure_pipelines", "github_actions") else str(name)
    )


def _at(written: Written, commit: str) -> str:
    if written.takes_commit:
        return f"at {_short(commit)}"
    return "at its own newest revision"


def _short(commit: str) -> str:
    return commit[:12]


def _text(value: Any) -> str:
    """As the systems take it: all of them take texts."""
    return str(value).lower() if isinstance(value, bool) else str(value)
