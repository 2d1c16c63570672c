"""Kubernetes objects: what each is called, how two versions of one differ, and what holds secrets."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from triplane.core.digest import digest
from triplane.core.redact import MASK, Redactor

Object = dict[str, Any]
Action = Literal["create", "update", "delete"]
SERVER = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
"""Metadata that only the API server writes."""
LONGEST = 80
CLUSTER_KINDS = frozenset(
    {
        *("APIService", "CSIDriver", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"),
        *("IngressClass", "MutatingWebhookConfiguration", "Namespace", "Node", "PersistentVolume"),
        *("PodSecurityPolicy", "PriorityClass", "RuntimeClass", "StorageClass"),
        *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration"),
        *("ClusterSecretStore", "ClusterIssuer", "GatewayClass"),
    }
)
ORDER = (
    *("Namespace", "CustomResourceDefinition", "PriorityClass", "StorageClass", "ResourceQuota"),
    *("LimitRange", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    *("Secret", "ConfigMap", "PersistentVolume", "PersistentVolumeClaim", "Service", "NetworkPolicy"),
)
LAST = ("HorizontalPodAutoscaler", "Ingress", "APIService", "ValidatingWebhookConfiguration")
FIRST = ("Namespace", "CustomResourceDefinition")
"""Kinds that others need before they can be applied at all."""


@dataclass(frozen=True, order=True)
class Id:
    """What an object is called; ``namespace`` is empty for those of the whole cluster."""

    api: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Id:
        """The id of an object."""
        meta = item["metadata"]
        return cls(item["apiVersion"], item["kind"], meta.get("namespace") or "", meta["name"])

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The same in every version of its API."""
        return (self.api.rpartition("/")[0], self.kind, self.namespace, self.name)

    def stub(self) -> Object:
        """Enough of an object to ask for it."""
        meta = {"name": self.name} | ({"namespace": self.namespace} if self.namespace else {})
        return {"apiVersion": self.api, "kind": self.kind, "metadata": meta}

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True)
class Attribute:
    """One difference; the texts are for people, redacted."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class ObjectChange:
    """What becomes of one object. ``fingerprint`` is equal for equal changes, and holds no secret."""

    id: Id
    action: Action
    attributes: tuple[Attribute, ...] = ()
    fingerprint: str = ""

    @property
    def lines(self) -> list[str]:
        """For people."""
        sign = {"create": "+", "update": "~", "delete": "-"}[self.action]
        shown = [f"{sign} {self.id}: {item.name}: {item.before} -> {item.after}" for item in self.attributes]
        return shown or [f"{sign} {self.id}"]


def compare(before: Object | None, after: Object, redact: Redactor) -> ObjectChange | None:
    """What turns ``before`` (live) into ``after`` (as a dry run answered), None if nothing does."""
    if before is None:
        what = digest(_masked(clean(after)))
        return ObjectChange(Id.of(after), "create", fingerprint=what)
    old, new = dict(leaves(clean(before))), dict(leaves(clean(after)))
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    if not names:
        return None
    secret = after["kind"] == "Secret"
    attributes = tuple(
        Attribute(
            name, _shown(name, old.get(name), redact, secret), _shown(name, new.get(name), redact, secret)
        )
        for name in names
    )
    values = {name: None if _is_secret(name, secret) else new.get(name) for name in names}
    return ObjectChange(Id.of(after), "update", attributes, digest(values))


def clean(item: Mapping[str, Any]) -> Object:
    """An object without its status and what only the API server writes."""
    meta = {key: value for key, value in item["metadata"].items() if key not in SERVER}
    notes = dict(meta.get("annotations") or {})
    notes.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    notes.pop("deployment.kubernetes.io/revision", None)
    meta = {**meta, "annotations": notes}
    return {**{key: value for key, value in item.items() if key != "status"}, "metadata": meta}


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of an object by dotted names; items of a list of named things by their names."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        names = [str(item.get("name", "")) for item in value]
        keyed = all(names) and len(set(names)) == len(names)
        for index, item in enumerate(value):
            yield from leaves(item, f"{name}[{names[index] if keyed else index}]")
    elif value is not None:
        yield name, value


def ordered(items: Iterable[Object]) -> list[Object]:
    """In the order in which they can be made: what others need first."""

    def rank(item: Object) -> int:
        kind = item["kind"]
        return ORDER.index(kind) if kind in ORDER else len(ORDER) + (kind in LAST)

    return sorted(items, key=rank)


def pod_spec(item: Mapping[str, Any]) -> Object | None:
    """The pod template of a workload (a pod: itself), None for other kinds."""
    if item["kind"] == "Pod":
        return dict(item)
    spec: Any = item.get("spec") or {}
    if item["kind"] == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    template = spec.get("template") if isinstance(spec, Mapping) else None
    is_pod = isinstance(template, Mapping) and "containers" in (template.get("spec") or {})
    return template if is_pod else None  # type: ignore[return-value]


def containers(template: Mapping[str, Any]) -> Iterator[Object]:
    """All containers of a pod template."""
    for kind in ("initContainers", "containers"):
        yield from template["spec"].get(kind) or ()


def secret_data(values: Mapping[str, str]) -> dict[str, str]:
    """As a Secret's ``data``."""
    return {key: base64.b64encode(str(value).encode()).decode() for key, value in values.items()}


def _masked(item: Object) -> Object:
    return {**item, "data": sorted(item.get("data") or {})} if item["kind"] == "Secret" else item


def _is_secret(name: str, secret: bool) -> bool:
    return secret and name.partition(".")[0] in ("data", "stringData")


def _shown(name: str, value: Any, redact: Redactor, secret: bool) -> str:
    if value is None:
        return "none"
    if _is_secret(name, secret):
        return MASK
    named = name.removesuffix(".value").rpartition("[")[2].rstrip("]") if name.endswith("].value") else name
    masked = redact.value(value, named.rpartition(".")[2])
    text = masked if isinstance(masked, str) else json.dumps(masked)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
