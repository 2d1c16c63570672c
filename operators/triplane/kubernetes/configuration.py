"""Configuration and secrets of a spec as objects of a cluster, and pods that follow their changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from triplane.core.digest import canonical_json
from triplane.core.errors import InputError
from triplane.kubernetes.objects import Id, Object, containers, pod_spec, secret_data

HASH = "triplane.dev/configuration"
"""Annotation of a pod template: another one whenever what its pods read has changed."""
GENERATED = ("ConfigMap", "Secret", "ExternalSecret", "SecretProviderClass")


def objects(
    config: Mapping[str, Mapping[str, Any]], secrets: Mapping[str, Mapping[str, Any]]
) -> Iterator[Object]:
    """A ConfigMap or Secret for each name."""
    for name, values in config.items():
        data = {key: str(value) for key, value in values.items()}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    for name, values in secrets.items():
        meta = {"name": name}
        data = secret_data(values)
        yield {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data}


def external(secrets: Mapping[str, Mapping[str, Any]]) -> Iterator[Object]:
    """For the External Secrets operator: ``{"store", "keys": {key: "path#property"}}`` each."""
    for name, wanted in secrets.items():
        data = []
        for key, where in wanted["keys"].items():
            path, _, part = str(where).partition("#")
            data.append({"secretKey": key, "remoteRef": {"key": path} | ({"property": part} if part else {})})
        yield {
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": {"name": name},
            "spec": {
                "refreshInterval": "1h",
                "secretStoreRef": {"kind": "ClusterSecretStore", "name": wanted["store"]},
                "target": {"name": name},
                "data": data,
            },
        }


def csi(secrets: Mapping[str, Mapping[str, Any]], cloud: str) -> Iterator[Object]:
    """For the Secrets Store CSI driver of ``cloud``: ``{"keys": {key: name}, "parameters": {}}`` each."""
    for name, wanted in secrets.items():
        if cloud not in PROVIDERS:
            raise InputError(
                f"{name}: no CSI provider is known on {cloud}; use one of {', '.join(PROVIDERS)}"
            )
        keys = wanted["keys"]
        synced = [{"key": key, "objectName": key} for key in keys]
        yield {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"name": name},
            "spec": {
                "provider": cloud,
                "parameters": {**PROVIDERS[cloud](keys), **(wanted.get("parameters") or {})},
                "secretObjects": [{"secretName": name, "type": "Opaque", "data": synced}],
            },
        }


def mark(items: Sequence[Object], namespace: str) -> None:
    """Annotate each pod template with a hash of what its pods read of ``items``.

    The hash is slow to compute on purpose: a short secret cannot be guessed from it.
    """
    known: dict[tuple[str, str, str], bytes] = {}
    for item in items:
        if item["kind"] in GENERATED:
            kind = "ConfigMap" if item["kind"] == "ConfigMap" else "Secret"
            content = canonical_json([item.get("data"), item.get("binaryData"), item.get("spec")])
            known[kind, item["metadata"].get("namespace") or namespace, item["metadata"]["name"]] = content
    for item in items:
        template = pod_spec(item)
        if template is None or item["kind"] in ("Pod", "Job"):
            continue
        where = item["metadata"].get("namespace") or namespace
        read = sorted({(kind, where, name) for kind, name in _reads(template)} & known.keys())
        if read:
            salt = canonical_json(list(vars(Id.of(item)).values()))
            content = b"\0".join(known[key] for key in read)
            value = hashlib.scrypt(content, salt=salt, n=2**14, r=8, p=1, dklen=16).hex()
            meta = template.setdefault("metadata", {})
            meta["annotations"] = {**(meta.get("annotations") or {}), HASH: value}


def _reads(template: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, name) of the ConfigMaps and Secrets that a pod reads."""
    for container in containers(template):
        for source in container.get("envFrom") or ():
            yield "ConfigMap", (source.get("configMapRef") or {}).get("name", "")
            yield "Secret", (source.get("secretRef") or {}).get("name", "")
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            yield "ConfigMap", (source.get("configMapKeyRef") or {}).get("name", "")
            yield "Secret", (source.get("secretKeyRef") or {}).get("name", "")
    for volume in template["spec"].get("volumes") or ():
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            yield "ConfigMap", (source.get("configMap") or {}).get("name", "")
            secret = source.get("secret") or {}
            yield "Secret", secret.get("secretName", "") or secret.get("name", "")
        attributes = (volume.get("csi") or {}).get("volumeAttributes") or {}
        yield "Secret", attributes.get("secretProviderClass", "")


def _aws(keys: Mapping[str, str]) -> dict[str, str]:
    found = [
        {"objectName": name, "objectType": "secretsmanager", "objectAlias": key} for key, name in keys.items()
    ]
    return {"objects": yaml.safe_dump(found)}


def _gcp(keys: Mapping[str, str]) -> dict[str, str]:
    """Names are ``projects/<project>/secrets/<name>/versions/<version>``."""
    return {"secrets": yaml.safe_dump([{"resourceName": name, "path": key} for key, name in keys.items()])}


def _azure(keys: Mapping[str, str]) -> dict[str, str]:
    found = [
        yaml.safe_dump({"objectName": name, "objectType": "secret", "objectAlias": key})
        for key, name in keys.items()
    ]
    return {"objects": yaml.safe_dump({"array": found})}


PROVIDERS = {"aws": _aws, "gcp": _gcp, "azure": _azure}
