"""Takes an image from a registry exactly as it is there: the same bytes, the same digest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from triplane.core.digest import canonical_json, digest_file
from triplane.core.errors import RefusedError
from triplane.core.process import Command, run, tool_env
from triplane.images.reference import Reference


def fetch(
    reference: Reference, auth_file: Path, scratch: Path, layout: Path, log: Callable[[str], None]
) -> None:
    """Write the image of a pinned ``reference``, with all its platforms, as an OCI layout.

    skopeo would turn an image of Docker's own media types into another one in an OCI layout, so it writes a plain
    folder that we rename.

    :raises RefusedError: the registry gave another image
    """
    folder = scratch / "fetched"
    run(Command(argv=fetch_args(reference, folder, auth_file), env=tool_env()), on_line=log, timeout=1800)
    manifest = folder / "manifest.json"
    digest = digest_file(manifest)
    if digest != reference.digest:
        raise RefusedError(f"{reference} came as {digest}; somebody tampers with the registry or its network")
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for file in folder.iterdir():
        if file.name not in ("manifest.json", "version") and not file.name.startswith("signature"):
            shutil.move(file, blobs / file.name.removesuffix(".manifest.json"))
    shutil.move(manifest, blobs / digest.removeprefix("sha256:"))
    media_type = json.loads((blobs / digest.removeprefix("sha256:")).read_text()).get("mediaType", "")
    entry = {
        "mediaType": media_type,
        "digest": digest,
        "size": (blobs / digest.removeprefix("sha256:")).stat().st_size,
    }
    (layout / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(canonical_json({"schemaVersion": 2, "manifests": [entry]}))


def fetch_args(reference: Reference, folder: Path, auth_file: Path) -> tuple[str, ...]:
    """Copies an image with all its platforms, unchanged."""
    return (
        *("skopeo", "copy", "--all", "--preserve-digests", "--retry-times", "2"),
        *("--src-authfile", str(auth_file), f"docker://{reference}", f"dir:{folder}"),
    )
