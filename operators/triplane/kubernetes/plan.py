"""What a release would change: from what serves, and from what is wanted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from triplane.core.change import ComponentChange, Risk
from triplane.core.digest import digest
from triplane.core.errors import InputError, RefusedError, StaleError
from triplane.core.redact import MASK, Redactor
from triplane.core.references import holds_secret, resolve
from triplane.kubernetes import scaling
from triplane.kubernetes.diff import Difference, Key, Object, differences, lines
from triplane.kubernetes.helm import Observed, Release, Wanted, canonical
from triplane.kubernetes.render import Rendered

LONGEST = 80
RBAC = "rbac.authorization.k8s.io"
HOLD_DATA = (
    "PersistentVolumeClaim",
    "PersistentVolume",
    "StatefulSet",
    "CustomResourceDefinition",
    "Namespace",
)


ImagesAs = Literal["digest", "tag", "reference"]


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

    def leaves(self, key: str, how: ImagesAs) -> dict[str, str]:
        """The values that name it, the one with the digest last.

        ``digest`` is for charts that know ``<key>.digest``, ``tag`` for those that join repository and tag with a
        colon, ``reference`` for those whose ``<key>`` is the whole reference.
        """
        if how == "reference":
            return {key: str(self)}
        algorithm, _, hexadecimal = self.digest.partition(":")
        if how == "tag":
            return {f"{key}.repository": f"{self.repository}@{algorithm}", f"{key}.tag": hexadecimal}
        return {f"{key}.repository": self.repository, f"{key}.digest": self.digest}


@dataclass(frozen=True, kw_only=True)
class Written:
    """A release as its user wrote it: values with references in them, images by their key in the values.

    ``files`` are values from files of the source, below the others, in which no reference is replaced.
    """

    release: Release
    cluster: str
    chart: str
    values: Mapping[str, Any]
    images: Mapping[str, Image]
    files: Mapping[str, Any] = field(default_factory=dict)
    images_as: ImagesAs = "digest"
    crds: str = "install"
    test: bool = False

    @property
    def leaves(self) -> dict[str, str]:
        """Every value that names an image."""
        found: dict[str, str] = {}
        for key, image in sorted(self.images.items()):
            found |= image.leaves(key, self.images_as)
        return found

    @property
    def all_values(self) -> dict[str, Any]:
        """The values with the images put in, references as written."""
        return self._over_files(self.values)

    def _over_files(self, values: Mapping[str, Any]) -> dict[str, Any]:
        merged: dict[str, Any] = merge(json.loads(json.dumps(self.files)), json.loads(json.dumps(values)))
        for name, text in self.leaves.items():
            *parents, last = name.split(".")
            place = merged
            for parent in parents:
                if not isinstance(place.get(parent), dict):
                    place[parent] = {}
                place = place[parent]
            place[last] = text
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
            **({"crds": self.crds} if self.crds != "install" else {}),
            **({"test": 1} if self.test else {}),
            "revision": revision,
        }

    def wanted(self, lookup: Callable[[str], Any]) -> Wanted:
        """With references resolved. :raises InputError: one of them has no value"""
        return Wanted(self.chart, self._over_files(resolve(self.values, lookup)), self.all_values)

    def known(self, lookup: Callable[[str], Any]) -> bool:
        """Whether every reference has a value by now."""
        try:
            resolve(self.values, lookup)
        except InputError:
            return False
        return True


def merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Values over values, as Helm lays its files over each other."""
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            merge(below[key], value)
        else:
            below[key] = value
    return below


def plan(
    address: str, written: Written, observed: Observed, lookup: Callable[[str], Any], redact: Redactor
) -> ComponentChange:
    """The change that an upgrade would make, in terms of what was written."""
    told = tuple(_lines(written, observed, lookup, redact))
    if observed.serving is None:
        return ComponentChange(
            address=address,
            action="create",
            risk=Risk.LOW,
            summary=f"install {written.release}",
            lines=told,
            binds=written.binds(observed.origin),
        )
    healthy = observed.latest == observed.serving
    changed = bool(told) or not healthy
    summary = f"upgrade {written.release} from revision {observed.serving.number}"
    return ComponentChange(
        address=address,
        action="update" if changed else "none",
        risk=Risk.MEDIUM if changed else Risk.NONE,
        summary=summary if changed else f"revision {observed.serving.number} serves this already",
        lines=told if healthy else (_unhealthy(observed), *told),
        binds=written.binds(observed.origin),
    )


def with_objects(
    change: ComponentChange,
    rendered: Rendered,
    shown: Mapping[Key, Object],
    old: Mapping[Key, Object],
    redact: Redactor,
) -> ComponentChange:
    """The change with what it does to each object, the risk of that, and the digest of what is rendered.

    ``rendered`` is with the references as written, ``shown`` with their values.

    :raises InputError: the chart has autoscalers that cannot work
    """
    placed = [
        {**item, "metadata": {"name": key.name, "namespace": key.namespace}} for key, item in shown.items()
    ]
    scaling.check_autoscalers(placed)
    found = differences(old, shown, redact)
    told = list(lines(found))
    told += [
        f"! {name} comes out different each time: its content is not covered" for name in rendered.unstable
    ]
    told += [f"! {fight}: every upgrade undoes its work" for fight in scaling.fights(placed)]
    if not rendered.bound:
        told.append("! what the chart renders cannot be covered: chart, values and images are")
    risk = max([change.risk, *(_risk(item, new=not old) for item in found)])
    return replace(change, risk=risk, lines=(*change.lines, *told), binds={**change.binds, **rendered.binds})


def with_drift(change: ComponentChange, found: Sequence[Mapping[str, Any]]) -> ComponentChange:
    """The change with what was changed by hand since the release was deployed, which applying it puts back.

    ``found`` is what :func:`triplane.kubernetes.drift.findings` says of its objects.
    """
    if not found:
        return change
    told = []
    for item in found:
        told.append(
            f"! {item['address']} was {'deleted' if item['action'] == 'delete' else 'changed'} by hand"
        )
        told += [f"    ~ {a['name']}: {a['after']} -> {a['before']}" for a in item["attributes"]]
    summary = change.summary
    if not change.changed:
        summary = f"put back what was changed by hand in {len(found)} object{'s' if len(found) > 1 else ''}"
    return replace(
        change,
        action="update",
        risk=max(change.risk, Risk.MEDIUM),
        summary=summary,
        lines=(*told, *change.lines),
        binds={**change.binds, "drifted": digest([dict(item) for item in found])},
    )


def check_pinned(written: Written, rendered: Mapping[Key, Object]) -> None:
    """:raises InputError: the chart uses an image by its tag, not by the digest that it is given"""
    used = set(_images(list(rendered.values())))
    for key, image in sorted(written.images.items()):
        wrong = [text for text in sorted(used) if re.match(re.escape(image.repository) + r"(:|$)", text)]
        if wrong:
            raise InputError(
                f"the chart runs {wrong[0]}, not {image}: it does not know {key}.digest; write images_as: tag "
                f"for a chart that joins {key}.repository and {key}.tag, images_as: reference for one whose "
                f"{key} is the whole image"
            )


def _images(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "image" and isinstance(item, str):
                yield item
            yield from _images(item)
    elif isinstance(value, list):
        for item in value:
            yield from _images(item)


def _risk(item: Difference, *, new: bool) -> Risk:
    """What is gone is a high risk, critical if it holds data; so is a change of who may do what."""
    if item.key.group == RBAC and not new:
        return Risk.CRITICAL
    if item.sign == "-":
        return Risk.CRITICAL if item.key.kind in HOLD_DATA else Risk.HIGH
    return Risk.NONE


def plan_to_destroy(address: str, cluster: str, release: Release, observed: Observed) -> ComponentChange:
    """The change that uninstalling makes."""
    there = observed.latest is not None
    return ComponentChange(
        address=address,
        action="destroy" if there else "none",
        risk=Risk.CRITICAL if there else Risk.NONE,
        summary=f"uninstall {release}" if there else f"{release} is not there",
        lines=(f"- {release}: revision {observed.origin}, its history, and all that it made",)
        if there
        else (),
        binds={"release": f"{cluster}/{release}", "destroys": observed.origin},
    )


def check_destroys(approved: ComponentChange, cluster: str, release: Release, observed: Observed) -> None:
    """Make sure that what would be uninstalled is what was approved to be.

    :raises RefusedError: this was not approved
    :raises StaleError: another revision serves by now
    """
    if approved.binds.get("release") != f"{cluster}/{release}" or "destroys" not in approved.binds:
        raise RefusedError(f"to uninstall {release} was not approved; plan again and ask again")
    if observed.latest is not None and observed.origin != approved.binds["destroys"]:
        raise StaleError(
            f"{release} serves the content of revision {observed.origin}, the plan was made when it was "
            f"{approved.binds['destroys']}; plan again"
        )


def _unhealthy(observed: Observed) -> str:
    assert observed.latest is not None
    return f"! revision {observed.latest.number} is {observed.latest.status}: it is set right first"


def _lines(
    written: Written, observed: Observed, lookup: Callable[[str], Any], redact: Redactor
) -> Iterator[str]:
    old = dict(flatten(observed.values))
    for key, image in sorted(written.images.items()):
        leaves = image.leaves(key, written.images_as)
        if any(old.get(name) != text for name, text in leaves.items()):
            yield f"~ {key}: {_digest_in(old.get([*leaves][-1]))} -> {image.digest}"
    recorded = observed.recorded
    if recorded is None or recorded[0] != written.chart:
        yield f"~ chart: {recorded[0] if recorded else 'none'} -> {written.chart}"
    new: set[str] = set()
    above = dict(flatten(written.values))
    for name, text in flatten(written.all_values):
        resolved = dict(flatten(_resolve(text, lookup) if name in above else text, name))
        new |= resolved.keys()
        if name in written.leaves or all(key in old and _same(old[key], resolved[key]) for key in resolved):
            continue
        known = any(key in old for key in resolved)
        yield f"{'~' if known else '+'} values.{name} = {_shown(name, text, redact)}"
    for name in sorted(old.keys() - new):
        yield f"- values.{name}"


def _digest_in(value: Any) -> str:
    """The digest in what an image's value was, ``none`` if it holds none."""
    found = re.search(r"[0-9a-f]{64}$", str(value))
    return f"sha256:{found[0]}" if found else "none"


class _Unknown:
    """A value that is known only after a stack was applied; equal to nothing."""


def _resolve(value: Any, lookup: Callable[[str], Any]) -> Any:
    try:
        return resolve(value, lookup)
    except InputError:
        if holds_secret(value):
            raise
        return _Unknown()


def _same(old: Any, new: Any) -> bool:
    return not isinstance(new, _Unknown) and canonical(old) == canonical(new)


def _shown(name: str, value: Any, redact: Redactor) -> str:
    """A value as written, for people: references stay references, secrets are masked."""
    if holds_secret(value):
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
