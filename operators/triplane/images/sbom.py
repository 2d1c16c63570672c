"""What is in an image, as CycloneDX: made by syft where that is installed, attached to the image as an OCI referrer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from triplane.core.digest import canonical_json, digest
from triplane.core.errors import ToolError
from triplane.core.process import Command, run, tool_env
from triplane.core.store import ArtifactStore

MEDIA_TYPE = "application/vnd.cyclonedx+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = b"{}"
TIMEOUT = 900.0


def make(layout: Path, image: str, store: ArtifactStore, log: Callable[[str], None]) -> None:
    """Keep the SBOM of the image in an OCI layout in the store; an image without one is no error."""
    if shutil.which("syft") is None or store.get_named(_name(image)) is not None:
        return
    command = Command(argv=syft_args(layout), env=tool_env(SYFT_CHECK_FOR_APP_UPDATE="false"))
    try:
        sbom = run(command, timeout=TIMEOUT).stdout.encode()
        json.loads(sbom)
    except (ToolError, ValueError) as error:
        log(f"{image} gets no SBOM: {error}")
        return
    store.put_named(_name(image), sbom)
    log(f"made an SBOM of {image}")


def syft_args(layout: Path) -> tuple[str, ...]:
    """Lists what is in an OCI layout, on standard output."""
    return ("syft", "scan", f"oci-dir:{layout}", "--quiet", "--output", "cyclonedx-json")


def referrer(image: str, store: ArtifactStore) -> dict[str, bytes] | None:
    """The artifact that says what is in an image: digest -> blob, the manifest first; None where there is no SBOM."""
    sbom = store.get_named(_name(image))
    if sbom is None:
        return None
    subject = store.get(image)
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": MEDIA_TYPE,
            "config": _described("application/vnd.oci.empty.v1+json", EMPTY),
            "layers": [_described(MEDIA_TYPE, sbom)],
            "subject": _described(json.loads(subject).get("mediaType", MANIFEST), subject),
        }
    )
    return {digest(blob): blob for blob in (manifest, EMPTY, sbom)}


def write(blobs: dict[str, bytes], layout: Path) -> None:
    """Write an artifact as an OCI layout."""
    folder = layout / "blobs" / "sha256"
    folder.mkdir(parents=True)
    for name, blob in blobs.items():
        (folder / name.removeprefix("sha256:")).write_bytes(blob)
    manifest = next(iter(blobs.values()))
    index = {"schemaVersion": 2, "manifests": [_described(MANIFEST, manifest)]}
    (layout / "index.json").write_bytes(canonical_json(index))
    (layout / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))


def _described(media_type: str, blob: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": digest(blob), "size": len(blob)}


def _name(image: str) -> str:
    return f"sbom/{image}"
