"""A private working copy of a stack: Terraform writes into its directory, the source must stay as it is."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path, PurePosixPath

from triplane.core.errors import InputError

IGNORED = (".terraform", ".git", "*.tfstate", "*.tfstate.*", "*.tfplan", "crash.log")
LOCK_FILE = ".terraform.lock.hcl"

_RESOURCE = re.compile(r'^\s*resource\s+"([^"]+)"', re.MULTILINE)
_BACKEND = re.compile(r'^\s*(?:backend\s+"|cloud\s*\{)', re.MULTILINE)


def split(path: str) -> tuple[Path, str]:
    """``/srv/infra//network`` is the stack ``network`` in the source ``/srv/infra``, as in module addresses.

    Without ``//`` the source is the stack's directory alone, so it cannot use modules beside it.
    """
    root, _, stack = path.partition("//")
    return Path(root).resolve(), stack or "."


def copy_stack(root: Path, stack: str, target: Path) -> Path:
    """Copy ``root``/``stack`` to the same place below ``target``; returns the copy.

    What lies beside it (modules, charts) is linked, so that relative paths keep their meaning.
    """
    parts = PurePosixPath(stack).parts
    if ".." in parts or PurePosixPath(stack).is_absolute():
        raise InputError(f"{stack} leads out of the source; a stack is a folder inside it")
    if not (root / stack).is_dir():
        raise InputError(f"{root / stack} is not a folder; correct the stack's path")
    here, copy = root, target
    copy.mkdir(parents=True, exist_ok=True)
    for part in parts:
        for sibling in os.scandir(here):
            if sibling.name != part:
                (copy / sibling.name).symlink_to(sibling.path)
        here, copy = here / part, copy / part
        copy.mkdir()
    shutil.copytree(here, copy, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*IGNORED))
    return copy


def has_backend(directory: Path) -> bool:
    """Whether the stack's HCL says where its state is kept."""
    blocks = [json.loads(text).get("terraform", {}) for text in _sources(directory, "*.tf.json")]
    return any(_BACKEND.search(text) for text in _sources(directory, "*.tf")) or any(
        "backend" in block or "cloud" in block for block in blocks
    )


def keep_state_in(directory: Path, place: Path) -> None:
    """Make a stack without a backend keep its state in ``place``, as Terraform would if it ran there."""
    backend = {"terraform": {"backend": {"local": {"path": str(place / "terraform.tfstate")}}}}
    (directory / "triplane_state_override.tf.json").write_text(json.dumps(backend))


def resource_types(directory: Path) -> set[str]:
    """The resource types that an initialized stack and its modules declare."""
    manifest = directory / ".terraform" / "modules" / "modules.json"
    folders = {directory}
    if manifest.exists():
        folders |= {directory / item["Dir"] for item in json.loads(manifest.read_text())["Modules"]}
    found: set[str] = set()
    for folder in folders:
        for text in _sources(folder, "*.tf"):
            found |= set(_RESOURCE.findall(text))
        for text in _sources(folder, "*.tf.json"):
            found |= set(json.loads(text).get("resource", {}))
    return found


def _sources(directory: Path, glob: str) -> list[str]:
    return [path.read_text() for path in sorted(directory.glob(glob))]
