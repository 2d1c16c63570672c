"""What a release would change: from what serves, and from what is wanted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from triplane.core.change import ComponentChange, Risk
from triplane.core.digest import digest
from triplane.core.errors import InputError
from triplane.core.redact import MASK, Redactor
from triplane.core.references import references, resolve
from triplane.kubernetes.helm import Observed, Release, Wanted, canonical

SECRET_KINDS = ("variable.", "connection.", "secret.")
LONGEST = 80


@dataclass(frozen=True)
class Image:
    """An image pinned by its digest."""

    repository: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Image:
        """``host/repository@sha256:…``. :raises InputError: it is not pinned"""
        repository, at, version = text.partition("@")
        if not at or not version.startswith("sha256:"):
            raise InputError(f"image {text} is not pinned by its digest; give host/repository@sha256:…")
        return cls(repository, version)

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True, kw_only=True)
class Written:
    """A release as its user wrote it: values with references in them, images by their key in the values."""

    release: Release
    cluster: str
    chart: str
    values: Mapping[str, Any]
    images: Mapping[str, Image]

    @property
    def all_values(self) -> dict[str, Any]:
        """The values with the images put in, references as written."""
        merged: dict[str, Any] = json.loads(json.dumps(self.values))
        for key, image in self.images.items():
            *parents, last = key.split(".")
            place = merged
            for name in parents:
                place = place.setdefault(name, {})
            place[last] = {**(place.get(last) or {}), "repository": image.repository, "digest": image.digest}
        return merged

    @property
    def values_digest(self) -> str:
        """Digest of the values with their references as written."""
        return digest(self.all_values)

    def binds(self, revision: int) -> dict[str, str | int]:
        """All that an approval covers; ``revision`` is the one whose content serves now."""
        images = {f"image.{key}": str(image) for key, image in sorted(self.images.items())}
        return {
            "release": f"{self.cluster}/{self.release}",
            "chart": self.chart,
            "values": self.values_digest,
            **images,
            "revision": revision,
        }

    def wanted(self, lookup: Callable[[str], Any]) -> Wanted:
        """With references resolved. :raises InputError: one of them has no value"""
        return Wanted(self.chart, resolve(self.all_values, lookup))


def plan(
    address: str, written: Written, observed: Observed, lookup: Callable[[str], Any], redact: Redactor
) -> ComponentChange:
    """The change that an upgrade would make."""
    lines = tuple(_lines(written, observed, lookup, redact))
    if observed.serving is None:
        return ComponentChange(
            address=address,
            action="create",
            risk=Risk.LOW,
            summary=f"install {written.release}",
            lines=lines,
            binds=written.binds(observed.origin),
        )
    healthy = observed.latest == observed.serving
    changed = bool(lines) or not healthy
    summary = f"upgrade {written.release} from revision {observed.serving.number}"
    return ComponentChange(
        address=address,
        action="update" if changed else "none",
        risk=Risk.MEDIUM if changed else Risk.NONE,
        summary=summary if changed else f"revision {observed.serving.number} serves this already",
        lines=lines if healthy else (_unhealthy(observed), *lines),
        binds=written.binds(observed.origin),
    )


def _unhealthy(observed: Observed) -> str:
    assert observed.latest is not None
    return f"! revision {observed.latest.number} is {observed.latest.status}: it is set right first"


def _lines(
    written: Written, observed: Observed, lookup: Callable[[str], Any], redact: Redactor
) -> Iterator[str]:
    old = dict(flatten(observed.values))
    keys = tuple(f"{key}." for key in written.images)
    for key, image in sorted(written.images.items()):
        before, after = old.get(f"{key}.digest"), image.digest
        if before != after or old.get(f"{key}.repository") != image.repository:
            yield f"~ {key}: {before or 'none'} -> {after}"
    recorded = observed.recorded
    if recorded is None or recorded[0] != written.chart:
        yield f"~ chart: {recorded[0] if recorded else 'none'} -> {written.chart}"
    new: set[str] = set()
    for name, text in flatten(written.all_values):
        resolved = dict(flatten(_resolve(text, lookup), name))
        new |= resolved.keys()
        if name.startswith(keys) or all(key in old and _same(old[key], resolved[key]) for key in resolved):
            continue
        known = any(key in old for key in resolved)
        yield f"{'~' if known else '+'} values.{name} = {_shown(name, text, redact)}"
    for name in sorted(old.keys() - new):
        if not name.startswith(keys):
            yield f"- values.{name}"


class _Unknown:
    """A value that is known only after a stack was applied; equal to nothing."""


def _resolve(value: Any, lookup: Callable[[str], Any]) -> Any:
    try:
        return resolve(value, lookup)
    except InputError:
        return _Unknown()


def _same(old: Any, new: Any) -> bool:
    return not isinstance(new, _Unknown) and canonical(old) == canonical(new)


def _shown(name: str, value: Any, redact: Redactor) -> str:
    """A value as written, for people: references stay references, secrets are masked."""
    if any(reference.startswith(SECRET_KINDS) for reference in references(value)):
        return MASK
    masked = redact.value(value, name.rpartition(".")[2])
    text = masked if isinstance(masked, str) else json.dumps(masked)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested values by their dotted names; lists and empty mappings are leaves."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flatten(item, f"{name}.{key}" if name else str(key))
    elif name and value is not None:
        yield name, value
