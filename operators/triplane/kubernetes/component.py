"""One component of manifests in its cluster: what would change, and how it is changed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triplane.core.change import ComponentChange, Risk
from triplane.core.errors import InputError, RefusedError, StaleError
from triplane.core.redact import Redactor
from triplane.core.references import is_secret
from triplane.kubernetes.kube import MANAGER, Kubectl
from triplane.kubernetes.manifests import COMPONENT, Written
from triplane.kubernetes.objects import CLUSTER_KINDS, FIRST, Id, Object, ObjectChange, compare
from triplane.kubernetes.scaling import HPA, handed_over

HANDOVER = "triplane-handover"
CHANGE = "change."
LATER = "later"
"""Stands for a change whose values are known only after a stack was applied."""
HOLDS_DATA = (
    "PersistentVolumeClaim",
    "PersistentVolume",
    "Namespace",
    "CustomResourceDefinition",
    "StatefulSet",
)
ACCESS = ("Role", "RoleBinding")
ACCESS_EVERYWHERE = ("ClusterRole", "ClusterRoleBinding")


@dataclass(frozen=True)
class Observed:
    """What would change, and what there is: live objects by key, and what we have applied before."""

    changes: tuple[ObjectChange, ...]
    live: Mapping[tuple[str, str, str, str], Object]
    before: tuple[Id, ...]


@dataclass(frozen=True)
class Inventory:
    """What a component has applied, kept in a ConfigMap beside it: what is not in there is never pruned."""

    kubectl: Kubectl
    namespace: str
    label: str

    @property
    def _stub(self) -> Object:
        name = "triplane." + re.sub(r"[^a-z0-9.-]", "-", self.label.lower())
        meta = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}

    def read(self) -> tuple[Id, ...]:
        """All that was applied and not yet pruned."""
        found = self.kubectl.get([self._stub])
        text = next((item.get("data", {}).get("objects", "[]") for item in found.values()), "[]")
        return tuple(Id(*entry) for entry in json.loads(text))

    def write(self, ids: Iterable[Id]) -> None:
        """Keep ``ids``."""
        text = json.dumps([list(vars(item).values()) for item in sorted(set(ids))])
        self.kubectl.apply([{**self._stub, "data": {"objects": text}}])

    def forget(self) -> None:
        """Remove it."""
        self.kubectl.delete([Id.of(self._stub)], 30)


@dataclass(frozen=True, kw_only=True)
class Component:
    """``folder`` holds the objects as :func:`triplane.kubernetes.manifests.read` found them."""

    kubectl: Kubectl
    written: Written
    folder: Sequence[Object]
    redact: Redactor

    @property
    def inventory(self) -> Inventory:
        """What was applied before."""
        return Inventory(self.kubectl, self.written.namespace, self.written.label)

    def objects(self, lookup: Callable[[str], Any]) -> list[Object]:
        """All objects, fit for this cluster. :raises InputError: see :meth:`Written.objects`"""
        autoscaling = self.kubectl.autoscaling() if self._scales else "autoscaling/v2"
        builtin = all(_is_builtin(item) for item in self.folder)
        kinds = CLUSTER_KINDS if builtin else self._cluster_kinds()
        return self.written.objects(self.folder, lookup, autoscaling=autoscaling, cluster_kinds=kinds)

    @property
    def _scales(self) -> bool:
        return any("autoscale" in wanted for wanted in self.written.workloads.values()) or any(
            item["kind"] == HPA for item in self.folder
        )

    def observe(self, items: Sequence[Object]) -> Observed:
        """What applying ``items`` would change, as the server itself answers.

        :raises InputError: another component owns one of them
        :raises ToolError: the server would refuse one of them
        """
        live = self.kubectl.get(items)
        before = self.inventory.read()
        self._check_owners(live)
        known = [item for item in items if Id.of(item).key in live]
        kinds = {
            item["spec"]["names"]["kind"] for item in items if item["kind"] == "CustomResourceDefinition"
        }
        new = [item for item in items if Id.of(item).key not in live]
        used = {item.key[2] for item in map(Id.of, new)} - {"", *(key[2] for key in live)}
        missing = {name for name in used if not self.kubectl.has_namespace(name)}
        tried = [item for item in new if item["kind"] not in kinds and Id.of(item).namespace not in missing]
        after = {Id.of(item).key: item for item in self.kubectl.dry_run([*known, *tried])}
        updates = [compare(live[key], after[key], self.redact) for key in map(_key_of, known)]
        changes = [*(created(item, self.redact) for item in new), *filter(None, updates)]
        wanted = {Id.of(item).key for item in items}
        gone = self._ours([item for item in before if item.key not in wanted])
        pruned = [ObjectChange(item, "delete", fingerprint="delete") for item in gone]
        return Observed((*changes, *pruned), live, before)

    def apply(self, items: Sequence[Object], observed: Observed) -> None:
        """Apply ``items``, then delete what we applied before and is no longer among them.

        A killed try may have done any part of this; doing it again does the rest.
        """
        if not observed.live and not self.kubectl.has_namespace(self.written.namespace):
            self.kubectl.make_namespace(self.written.namespace)
        ids = [Id.of(item) for item in items]
        self.inventory.write([*observed.before, *ids])
        first = [item for item in items if item["kind"] in FIRST]
        self.kubectl.apply(first)
        self.kubectl.await_crds(
            [item["metadata"]["name"] for item in first if item["kind"] == "CustomResourceDefinition"]
        )
        self.kubectl.apply(list(handed_over(observed.live, items, MANAGER)), HANDOVER, parts=True)
        self.kubectl.apply([item for item in items if item["kind"] not in FIRST])
        self.kubectl.delete([change.id for change in observed.changes if change.action == "delete"], 120)
        self.inventory.write(ids)

    def there(self) -> list[Id]:
        """What there is of what we have applied, in the order in which it can be deleted."""
        return list(reversed(self._ours(self.inventory.read())))

    def delete(self, ids: Sequence[Id], timeout: int) -> None:
        """Delete ``ids`` and what is known of them."""
        self.kubectl.delete(ids, timeout)
        self.inventory.forget()

    def _ours(self, ids: Sequence[Id]) -> list[Id]:
        """Those that are live and still bear our label."""
        live = self.kubectl.get([item.stub() for item in ids])
        return [item for item in ids if _label(live.get(item.key)) == self.written.label]

    def _check_owners(self, live: Mapping[Any, Object]) -> None:
        for item in live.values():
            owner = _label(item)
            if owner not in ("", self.written.label):
                raise InputError(
                    f"{Id.of(item)} belongs to the component {owner}; two cannot apply the same object: give "
                    "one of them another name, or take it out of one"
                )

    def _cluster_kinds(self) -> frozenset[str]:
        scopes = {
            item["spec"]["names"]["kind"]
            for item in self.folder
            if item["kind"] == "CustomResourceDefinition" and item["spec"].get("scope") == "Cluster"
        }
        return self.kubectl.cluster_kinds() | scopes


def created(item: Object, redact: Redactor) -> ObjectChange:
    """The change that makes ``item``; the same whatever API version the cluster knows."""
    group = item["apiVersion"].rpartition("/")[0]
    change = compare(None, {**item, "apiVersion": group}, redact)
    assert change is not None
    return ObjectChange(Id.of(item), "create", fingerprint=change.fingerprint)


def plan(written: Written, changes: Sequence[ObjectChange], *, later: bool) -> ComponentChange:
    """``changes`` for approval. ``later``: their values hold outputs of stacks that are not known yet."""
    counts = {
        action: sum(change.action == action for change in changes)
        for action in ("create", "update", "delete")
    }
    parts = [f"{count} to {action}" for action, count in counts.items() if count]
    new = counts["create"] and not counts["update"] and not counts["delete"]
    return ComponentChange(
        address=written.address,
        action="none" if not changes else "create" if new else "update",
        risk=max((_risk(change) for change in changes), default=Risk.NONE),
        summary=f"apply manifests in {written.namespace}: {', '.join(parts)}"
        if changes
        else "all is applied already",
        lines=tuple(line for change in changes for line in change.lines),
        binds=written.binds() | {_key(change): LATER if later else change.fingerprint for change in changes},
    )


def check(approved: ComponentChange, written: Written) -> None:
    """:raises RefusedError: what would be applied is not what was approved"""
    actual = written.binds()
    known = {key: value for key, value in approved.binds.items() if not key.startswith(CHANGE)}
    differing = sorted(key for key in known.keys() | actual.keys() if known.get(key) != actual.get(key))
    if differing:
        details = ", ".join(f"{key}: approved {known.get(key)}, found {actual.get(key)}" for key in differing)
        raise RefusedError(f"this is not what was approved ({details}); plan again and ask again")


def check_changes(approved: ComponentChange, changes: Sequence[ObjectChange]) -> None:
    """What is to change now must be all, or what a killed try left, of what was approved.

    :raises StaleError: the cluster has moved on since the plan
    """
    for change in changes:
        expected = approved.binds.get(_key(change))
        if expected not in (change.fingerprint, LATER):
            raise StaleError(f"{change.id} is not as it was when this was planned; plan again")


def plan_to_destroy(written: Written, ids: Sequence[Id]) -> ComponentChange:
    """The change that deleting all makes."""
    place = f"{written.cluster}/{written.namespace}/{written.label}"
    return ComponentChange(
        address=written.address,
        action="destroy" if ids else "none",
        risk=Risk.CRITICAL if ids else Risk.NONE,
        summary=f"delete {len(ids)} objects" if ids else "nothing of it is there",
        lines=tuple(f"- {item}" for item in ids),
        binds={"manifests": place, "destroys": len(ids), **{f"{CHANGE}{item}": "delete" for item in ids}},
    )


def check_destroys(approved: ComponentChange, written: Written, ids: Sequence[Id]) -> None:
    """:raises RefusedError: to delete one of ``ids`` was not approved"""
    place = f"{written.cluster}/{written.namespace}/{written.label}"
    extra = [str(item) for item in ids if approved.binds.get(f"{CHANGE}{item}") != "delete"]
    if approved.binds.get("manifests") != place or "destroys" not in approved.binds or extra:
        what = ", ".join(extra) or place
        raise RefusedError(f"to delete {what} was not approved; plan again and ask again")


def _key_of(item: Object) -> tuple[str, str, str, str]:
    return Id.of(item).key


def _key(change: ObjectChange) -> str:
    return f"{CHANGE}{change.id}"


def _risk(change: ObjectChange) -> Risk:
    if change.id.kind in ACCESS_EVERYWHERE or (change.action == "delete" and change.id.kind in HOLDS_DATA):
        return Risk.CRITICAL
    if change.action == "delete" or change.id.kind in ACCESS:
        return Risk.HIGH
    return Risk.LOW if change.action == "create" else Risk.MEDIUM


def _label(item: Object | None) -> str:
    return str(((item or {}).get("metadata", {}).get("labels") or {}).get(COMPONENT, ""))


def _is_builtin(item: Object) -> bool:
    group = item["apiVersion"].rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io")


def partly(lookup: Callable[[str], Any], missing: set[str]) -> Callable[[str], Any]:
    """``lookup`` that leaves a reference without value as it is written, and adds it to ``missing``; a secret must have one."""

    def find(name: str) -> Any:
        try:
            return lookup(name)
        except KeyError:
            if is_secret(name):
                raise
            missing.add(name)
            return f"${{{name}}}"

    return find
