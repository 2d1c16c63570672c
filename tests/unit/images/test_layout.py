from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from triplane.core.digest import canonical_json, digest
from triplane.core.errors import InputError, RefusedError
from triplane.core.store import ArtifactStore
from triplane.images.layout import complete, find_key, keep, put_key, restore, sort_platforms


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store", [Fernet.generate_key().decode()])


def make(path: Path, *layers: bytes) -> str:
    """An OCI layout with one image; returns its manifest digest."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def add(data: bytes) -> dict[str, object]:
        name = digest(data)
        (blobs / name.removeprefix("sha256:")).write_bytes(data)
        return {"digest": name, "size": len(data)}

    config = add(b'{"architecture":"amd64"}')
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [add(layer) for layer in layers],
    }
    entry = add(json.dumps(manifest, indent=3).encode())
    (path / "index.json").write_bytes(canonical_json({"schemaVersion": 2, "manifests": [entry]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(entry["digest"])


def files(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (path / "blobs" / "sha256").iterdir()}


def test_an_image_comes_back_byte_for_byte(store: ArtifactStore, tmp_path: Path) -> None:
    name = make(tmp_path / "a", b"base", b"top", b"base")
    assert keep(tmp_path / "a", store) == name
    restore(name, store, tmp_path / "b")
    assert files(tmp_path / "b") == files(tmp_path / "a")
    assert keep(tmp_path / "b", store) == name


def test_nothing_is_kept_in_the_clear(store: ArtifactStore, tmp_path: Path) -> None:
    make(tmp_path / "a", b"a planted secret")
    keep(tmp_path / "a", store)
    kept = [p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file()]
    assert kept
    assert not any(b"planted" in data for data in kept)


def test_shared_layers_are_kept_once(store: ArtifactStore, tmp_path: Path) -> None:
    for name, top in (("a", b"one"), ("b", b"two")):
        make(tmp_path / name, b"base", top)
        keep(tmp_path / name, store)
    assert len(list((tmp_path / "store/blobs").iterdir())) == 6  # two manifests, one config, three layers


def test_a_changed_layer_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    name = make(tmp_path / "a", b"layer")
    keep(tmp_path / "a", store)
    blobs = tmp_path / "store/blobs"
    layer = blobs / digest(b"layer").removeprefix("sha256:")
    layer.write_bytes((blobs / name.removeprefix("sha256:")).read_bytes())
    with pytest.raises(RefusedError, match="was changed"):
        restore(name, store, tmp_path / "b")


def test_a_layout_that_lies_about_its_blobs_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    make(tmp_path / "a", b"layer")
    blob = tmp_path / "a/blobs/sha256" / digest(b"layer").removeprefix("sha256:")
    blob.write_bytes(b"other")
    with pytest.raises(RefusedError, match="not what its name says"):
        keep(tmp_path / "a", store)


def test_a_blob_name_cannot_lead_elsewhere(store: ArtifactStore, tmp_path: Path) -> None:
    make(tmp_path / "a", b"layer")
    (tmp_path / "a/index.json").write_text(json.dumps({"manifests": [{"digest": "sha256:../../../x"}]}))
    with pytest.raises(InputError, match="not a digest"):
        keep(tmp_path / "a", store)


def test_a_key_finds_its_image_as_long_as_all_of_it_is_there(store: ArtifactStore, tmp_path: Path) -> None:
    name = make(tmp_path / "a", b"layer")
    assert find_key("k", store) is None
    keep(tmp_path / "a", store)
    put_key("k", name, store)
    assert find_key("k", store) == name
    (tmp_path / "store/blobs" / digest(b"layer").removeprefix("sha256:")).unlink()
    assert find_key("k", store) is None
    assert not complete(name, store)


def test_the_record_of_another_key_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    name = make(tmp_path / "a", b"layer")
    keep(tmp_path / "a", store)
    put_key("k1", name, store)
    (record,) = (tmp_path / "store/named").iterdir()
    put_key("k2", name, store)
    (other,) = (p for p in (tmp_path / "store/named").iterdir() if p != record)
    other.write_bytes(record.read_bytes())
    with pytest.raises(RefusedError, match="another image's record"):
        find_key("k2", store)


def test_the_order_in_which_platforms_are_done_does_not_matter(tmp_path: Path, store: ArtifactStore) -> None:
    found = []
    for number, architectures in enumerate((("amd64", "arm64"), ("arm64", "amd64"))):
        layout = tmp_path / str(number)
        images = []
        for architecture in architectures:
            alone = tmp_path / f"{number}-{architecture}"
            image = make(alone, architecture.encode())
            shutil.copytree(alone, layout, dirs_exist_ok=True)
            images.append({"digest": image, "platform": {"architecture": architecture, "os": "linux"}})
        index = canonical_json({"schemaVersion": 2, "manifests": images})
        (layout / "blobs/sha256" / digest(index).removeprefix("sha256:")).write_bytes(index)
        entry = {"digest": digest(index), "size": len(index)}
        (layout / "index.json").write_bytes(canonical_json({"schemaVersion": 2, "manifests": [entry]}))
        sort_platforms(layout)
        found.append(keep(layout, store))
    assert found[0] == found[1]
    assert complete(found[0], store)
