"""Replicas, rolling updates and autoscalers of a spec, put into manifests; and that they do not fight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from triplane.core.errors import InputError
from triplane.kubernetes.objects import Object

SCALED = ("Deployment", "StatefulSet")
HPA = "HorizontalPodAutoscaler"
Address = tuple[str, str, str]
"""Kind, namespace and name of a workload."""


def put(
    items: Sequence[Object], workloads: Mapping[str, Mapping[str, Any]], autoscaling: str
) -> Iterator[Object]:
    """Change workloads among ``items`` as ``workloads`` says, and yield the autoscalers that it asks for.

    ``workloads`` is ``"deployment/api": {"replicas", "max_surge", "max_unavailable", "autoscale": {"min", "max",
    "cpu", "memory"}}``. An autoscaler may be for a workload that is not here, such as a chart's.

    :raises InputError: a setting is for a workload that is not here, or of a kind that has no such setting
    """
    named = {f"{item['kind'].lower()}/{item['metadata']['name']}": item for item in items}
    for item in items:
        if item["kind"] == HPA and item["apiVersion"] in ("autoscaling/v2", "autoscaling/v2beta2"):
            item["apiVersion"] = autoscaling
    for address, wanted in workloads.items():
        autoscale = wanted.get("autoscale")
        if autoscale:
            yield _autoscaler(address, named.get(address), autoscale, autoscaling)
        rest = {key: value for key, value in wanted.items() if key != "autoscale" and value is not None}
        if rest and address not in named:
            raise InputError(
                f"there is no {address} among the manifests; there are: {', '.join(sorted(named))}"
            )
        if rest:
            _settings(address, named[address], rest)


def check(items: Sequence[Object]) -> None:
    """:raises InputError: an autoscaler and something else want to set the same replicas"""
    check_autoscalers(items)
    for fight in fights(items):
        raise InputError(
            f"{fight}: every deployment would undo its work; take 'replicas' out of the manifest (the "
            "autoscaler's 'min' holds from the start)"
        )


def fights(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each workload among ``items`` that sets the replicas which an autoscaler among them changes."""
    items = list(items)
    setting = {
        _address(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        for item in items
        if item["kind"] in SCALED and (item.get("spec") or {}).get("replicas") is not None
    }
    return [
        f"{_shown(target)} sets replicas, and the autoscaler {name} changes them"
        for name, target, _ in _autoscalers(items)
        if target in setting
    ]


def check_autoscalers(items: Iterable[Mapping[str, Any]]) -> None:
    """:raises InputError: two autoscalers scale the same workload, or one allows no number of replicas"""
    owners: dict[Address, str] = {}
    for name, target, spec in _autoscalers(items):
        if target in owners:
            raise InputError(
                f"two autoscalers, {owners[target]} and {name}, scale {_shown(target)}; keep one of them"
            )
        owners[target] = name
        least, most = spec.get("minReplicas", 1), spec.get("maxReplicas")
        if isinstance(least, int) and isinstance(most, int) and least > most:
            raise InputError(f"the autoscaler {name} has min {least} > max {most}")


def _autoscalers(items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Address, Mapping[str, Any]]]:
    """Name, target and ``spec`` of each; without those that the API server will refuse for lack of a target."""
    for item in items:
        if item["kind"] != HPA:
            continue
        spec = item.get("spec") or {}
        target = spec.get("scaleTargetRef") or {}
        if target.get("kind") and target.get("name"):
            where = item["metadata"].get("namespace")
            yield item["metadata"]["name"], _address(target["kind"], where, target["name"]), spec


def _address(kind: str, namespace: str | None, name: str) -> Address:
    return kind, namespace or "", name


def _shown(target: Address) -> str:
    return f"{target[0].lower()}/{target[2]}"


def handed_over(live: Mapping[Any, Object], items: Sequence[Object], manager: str) -> Iterator[Object]:
    """What keeps replicas as they are while they pass from us to an autoscaler.

    A field that we applied once and leave out now is reset by the server, so another manager takes it first.
    """
    for item in items:
        if item["kind"] not in SCALED or "replicas" in item["spec"]:
            continue
        meta = item["metadata"]
        group = item["apiVersion"].rpartition("/")[0]
        found = live.get((group, item["kind"], meta.get("namespace") or "", meta["name"]))
        if found is None or not owns_replicas(found, manager):
            continue
        yield {
            "apiVersion": item["apiVersion"],
            "kind": item["kind"],
            "metadata": {"name": meta["name"], "namespace": meta.get("namespace")},
            "spec": {"replicas": found["spec"]["replicas"]},
        }


def owns_replicas(item: Mapping[str, Any], manager: str) -> bool:
    """Whether ``manager`` applied the replicas of a live object."""
    return any(
        entry.get("manager") == manager
        and entry.get("operation") == "Apply"
        and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
        for entry in item["metadata"].get("managedFields") or ()
    )


def _autoscaler(address: str, item: Object | None, wanted: Mapping[str, Any], api: str) -> Object:
    kind, _, name = address.partition("/")
    kinds = {kind.lower(): kind for kind in SCALED}
    if kind not in kinds:
        raise InputError(f"{address} cannot be scaled; only deployments and stateful sets can")
    goals = {"cpu": wanted.get("cpu"), "memory": wanted.get("memory")}
    metrics = [
        {
            "type": "Resource",
            "resource": {"name": metric, "target": {"type": "Utilization", "averageUtilization": int(goal)}},
        }
        for metric, goal in goals.items()
        if goal is not None
    ]
    namespace = (item or {}).get("metadata", {}).get("namespace")
    return {
        "apiVersion": api,
        "kind": HPA,
        "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kinds[kind], "name": name},
            "minReplicas": wanted.get("min", 1),
            "maxReplicas": wanted["max"],
            "metrics": metrics,
        },
    }


def _settings(address: str, item: Object, wanted: Mapping[str, Any]) -> None:
    spec = item["spec"]
    if "replicas" in wanted:
        if item["kind"] not in SCALED:
            raise InputError(f"{address} has no replicas; only deployments and stateful sets have")
        spec["replicas"] = wanted["replicas"]
    limits = {
        key: wanted[name]
        for name, key in (("max_surge", "maxSurge"), ("max_unavailable", "maxUnavailable"))
        if name in wanted
    }
    if not limits:
        return
    if item["kind"] == "StatefulSet" and "maxSurge" in limits:
        raise InputError(
            f"{address}: a stateful set has no max_surge; its pods are replaced one after another"
        )
    field = "strategy" if item["kind"] == "Deployment" else "updateStrategy"
    rolling = (spec.get(field) or {}).get("rollingUpdate") or {}
    spec[field] = {"type": "RollingUpdate", "rollingUpdate": {**rolling, **limits}}
