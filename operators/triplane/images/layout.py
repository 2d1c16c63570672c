"""An image between building and pushing: its blobs in the artifact store, each under its own digest.

A blob's digest in an OCI layout is its digest in the store, so layers that images share are kept
once, and every blob is checked whenever it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from triplane.core.digest import canonical_json
from triplane.core.digest import digest as digest_of
from triplane.core.errors import InputError, RefusedError
from triplane.core.store import ArtifactStore


def keep(layout: Path, store: ArtifactStore) -> str:
    """Put the one image of an OCI layout into the store and return its manifest digest."""
    manifests = json.loads((layout / "index.json").read_text())["manifests"]
    if len(manifests) != 1:
        raise InputError(f"{layout}: expected one image, found {len(manifests)}")
    digest: str = manifests[0]["digest"]
    for blob in _closure(digest, lambda name: _blob(layout, name).read_bytes()):
        if not store.has(blob) and store.put(_blob(layout, blob).read_bytes()) != blob:
            raise RefusedError(f"{layout}: blob {blob} is not what its name says; build again")
    return digest


def sort_platforms(layout: Path) -> None:
    """Put the images of an image index in the order of their platforms, so that the same images give the same index."""
    index = json.loads((layout / "index.json").read_text())
    (entry,) = index["manifests"]
    document = json.loads(_blob(layout, entry["digest"]).read_bytes())
    document["manifests"].sort(key=lambda image: canonical_json(image["platform"]))
    data = canonical_json(document)
    _blob(layout, entry["digest"]).unlink()
    entry |= {"digest": digest_of(data), "size": len(data)}
    _blob(layout, entry["digest"]).write_bytes(data)
    (layout / "index.json").write_bytes(canonical_json(index))


def complete(digest: str, store: ArtifactStore) -> bool:
    """Whether the store still holds every blob of the image."""
    try:
        return all(store.has(blob) for blob in _closure(digest, store.get))
    except RefusedError:
        return False


def restore(digest: str, store: ArtifactStore, layout: Path) -> None:
    """Write the image as an OCI layout. Raises ``RefusedError`` when a blob is missing or was changed."""
    (layout / "blobs" / "sha256").mkdir(parents=True)
    for blob in _closure(digest, store.get):
        _blob(layout, blob).write_bytes(store.get(blob))
    manifest = _blob(layout, digest).read_bytes()
    media_type = json.loads(manifest).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
    entry = {"mediaType": media_type, "digest": digest, "size": len(manifest)}
    (layout / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(canonical_json({"schemaVersion": 2, "manifests": [entry]}))


def put_key(key: str, digest: str, store: ArtifactStore) -> None:
    """Remember which image a build key gave."""
    store.put_named(f"image/{key}", canonical_json({"key": key, "digest": digest}))


def find_key(key: str, store: ArtifactStore) -> str | None:
    """The digest of the image that was built for this key, None if it is not, or no longer, there."""
    data = store.get_named(f"image/{key}")
    if data is None:
        return None
    value = json.loads(data)
    if value["key"] != key:
        raise RefusedError(f"the artifact store answers key {key} with another image's record; remove it")
    digest: str = value["digest"]
    return digest if complete(digest, store) else None


def _closure(digest: str, read: Any) -> Iterator[str]:
    """The manifest and every blob it needs, each once."""
    seen: dict[str, None] = {digest: None}
    waiting = [digest]
    while waiting:
        manifest: Mapping[str, Any] = json.loads(read(waiting.pop()))
        nested = [item["digest"] for item in manifest.get("manifests", ())]
        waiting += [name for name in nested if name not in seen]
        blobs = [manifest["config"]["digest"]] if "config" in manifest else []
        blobs += [layer["digest"] for layer in manifest.get("layers", ())]
        seen.update(dict.fromkeys([*nested, *blobs]))
    yield from seen


def _blob(layout: Path, digest: str) -> Path:
    algorithm, _, name = digest.partition(":")
    if algorithm != "sha256" or len(name) != 64 or not name.isalnum():
        raise InputError(f"{digest!r} is not a digest (sha256:<64 hex digits>)")
    return layout / "blobs" / "sha256" / name
