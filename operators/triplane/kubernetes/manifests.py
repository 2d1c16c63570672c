"""From a folder of manifests and the settings of a spec to the objects that are applied."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from triplane.core.digest import digest
from triplane.core.errors import InputError
from triplane.core.references import references, resolve
from triplane.kubernetes import configuration, scaling
from triplane.kubernetes.kube import KUSTOMIZATIONS, Kubectl
from triplane.kubernetes.objects import CLUSTER_KINDS, Id, Object, containers, ordered, pod_spec, secret_data
from triplane.kubernetes.plan import Image

COMPONENT = "triplane.dev/component"
"""Label of everything that a component applies: what does not bear it is never pruned."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """Manifests as their user wrote them, references unresolved. ``tree`` is the digest of the folder."""

    address: str
    cluster: str
    namespace: str
    tree: str
    images: Mapping[str, Image] = field(default_factory=dict)
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    external_secrets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    csi_secrets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    workloads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The value of :data:`COMPONENT`."""
        text = self.address.replace("/", ".")
        return text if len(text) <= 63 else digest([text]).removeprefix("sha256:")[:32]

    @property
    def settings(self) -> str:
        """Digest of all but the images: what a drift check can compare without building any."""
        names = ("config", "secrets", "external_secrets", "csi_secrets", "workloads")
        return digest([self.tree, *({**getattr(self, name)} for name in names)])

    def binds(self) -> dict[str, str | int]:
        """What an approval covers, beside the changes themselves."""
        images = {f"image.{key}": str(image) for key, image in sorted(self.images.items())}
        place = f"{self.cluster}/{self.namespace}/{self.label}"
        return {"manifests": place, "written": self.settings, **images}

    @property
    def unresolved(self) -> set[str]:
        """References in what becomes objects."""
        return references(
            [self.config, self.secrets, self.workloads, self.csi_secrets, self.external_secrets]
        )

    def objects(
        self,
        found: Sequence[Object],
        lookup: Callable[[str], Any],
        *,
        autoscaling: str = "autoscaling/v2",
        cluster_kinds: frozenset[str] = CLUSTER_KINDS,
    ) -> list[Object]:
        """All objects in the order in which they are applied; ``found`` are those of the folder.

        :raises InputError: a setting fits no object, or settings contradict each other
        """
        items: list[Object] = json.loads(json.dumps(list(found)))
        config, secrets = resolve(self.config, lookup), resolve(self.secrets, lookup)
        items += configuration.objects(config, secrets)
        items += configuration.external(resolve(self.external_secrets, lookup))
        items += configuration.csi(resolve(self.csi_secrets, lookup), self.cluster.partition("/")[0])
        items += scaling.put(items, resolve(self.workloads, lookup), autoscaling)
        put_images(items, self.images)
        scaling.check(items)
        for item in items:
            if item["kind"] not in cluster_kinds:
                item["metadata"].setdefault("namespace", self.namespace)
            item["metadata"]["labels"] = {**(item["metadata"].get("labels") or {}), COMPONENT: self.label}
        configuration.mark(items, self.namespace)
        _distinct(items)
        return ordered(items)


def read(folder: Path, kubectl: Kubectl) -> list[Object]:
    """The objects of a folder: of its kustomization if it has one, else of all its YAML and JSON files.

    :raises InputError: a file is not a manifest
    """
    if any((folder / name).is_file() for name in KUSTOMIZATIONS):
        return list(parse(kubectl.kustomize(folder), folder.name))
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml", ".json"))
    found = [item for path in files for item in parse(path.read_text(), str(path.relative_to(folder)))]
    if not found:
        raise InputError(
            f"there are no manifests in {folder.name}: no *.yaml, *.yml or *.json holds an object"
        )
    return found


def parse(text: str, file: str) -> Iterator[Object]:
    """The objects in YAML text, those of a ``List`` one by one. :raises InputError: it holds something else"""
    try:
        documents = list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise InputError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        where = f"{file}, document {number}"
        is_list = isinstance(document, dict) and str(document.get("kind", "")).endswith("List")
        for item in (document.get("items") or []) if is_list else [document]:
            yield _object(item, where)


def put_images(items: Sequence[Object], images: Mapping[str, Image]) -> None:
    """Replace images by their names, as kustomize does. :raises InputError: nothing uses a name"""
    used = set()
    for item in items:
        for container in containers(template) if (template := pod_spec(item)) else ():
            name = _image_name(str(container.get("image", "")))
            if name in images:
                container["image"] = str(images[name])
                used.add(name)
    if unused := sorted(images.keys() - used):
        raise InputError(
            f"no container uses the image {', '.join(unused)}; under 'images' stands the image's name as the "
            "manifests write it, without tag"
        )


def _object(item: Any, where: str) -> Object:
    if not isinstance(item, dict) or not item.get("kind") or not item.get("apiVersion"):
        raise InputError(f"{where} is not a Kubernetes object: it has no apiVersion or no kind")
    name = (item.get("metadata") or {}).get("name")
    if not name:
        raise InputError(f"{where}: the {item['kind']} has no metadata.name; generateName cannot be applied")
    item = {key: value for key, value in item.items() if key != "status"}
    if item["kind"] == "Secret" and item.get("stringData"):
        # The server forgets who owns what came as stringData: keys taken out of it would stay.
        item["data"] = {**(item.get("data") or {}), **secret_data(item.pop("stringData"))}
    template = pod_spec(item)
    ports = (
        [port for container in containers(template) for port in container.get("ports") or ()]
        if template
        else []
    )
    if item["kind"] == "Service":
        ports = (item.get("spec") or {}).get("ports") or []
    for port in ports:
        # Servers before 1.21 cannot merge ports that leave their default protocol out.
        port.setdefault("protocol", "TCP")
    return item


def _distinct(items: Sequence[Object]) -> None:
    seen: set[tuple[str, str, str, str]] = set()
    for item in items:
        key = Id.of(item).key
        if key in seen:
            raise InputError(f"{Id.of(item)} is there twice; give each object a name of its own")
        seen.add(key)


def _image_name(image: str) -> str:
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]
