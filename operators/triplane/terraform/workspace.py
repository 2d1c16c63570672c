"""A private working copy of a stack: Terraform writes into its directory, the source must stay as it is."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

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


def check(root: Path, stack: str) -> None:
    """:raises InputError: ``root``/``stack`` is no folder inside ``root``"""
    parts = PurePosixPath(stack).parts
    if ".." in parts or PurePosixPath(stack).is_absolute():
        raise InputError(f"{stack} leads out of the source; a stack is a folder inside it")
    if not (root / stack).is_dir():
        raise InputError(f"{root / stack} is not a folder; correct the stack's path")


def copy_stack(root: Path, stack: str, target: Path) -> Path:
    """Copy ``root``/``stack`` to the same place below ``target``; returns the copy.

    What lies beside it (modules, charts) is linked, so that relative paths keep their meaning.
    """
    check(root, stack)
    parts = PurePosixPath(stack).parts
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


def hcl_files(directory: Path, *, tofu: bool = False) -> list[Path]:
    """The files that Terraform or OpenTofu reads there, HCL and JSON.

    OpenTofu reads ``a.tofu`` too, and then ignores ``a.tf``; Terraform does not know ``.tofu``.
    """
    files = []
    for kind in ("", ".json"):
        found = {path.name.removesuffix(f".tf{kind}"): path for path in directory.glob(f"*.tf{kind}")}
        if tofu:
            found |= {
                path.name.removesuffix(f".tofu{kind}"): path for path in directory.glob(f"*.tofu{kind}")
            }
        files += sorted(found.values())
    return files


def json_blocks(text: str) -> list[dict[str, Any]]:
    """The ``terraform`` blocks of a file in JSON, which holds one of them or a list."""
    found = json.loads(text).get("terraform", [])
    return found if isinstance(found, list) else [found]


def has_backend(directory: Path, *, tofu: bool = False) -> bool:
    """Whether the stack's HCL says where its state is kept."""
    for path in hcl_files(directory, tofu=tofu):
        text = path.read_text()
        if path.suffix == ".json":
            if any("backend" in block or "cloud" in block for block in json_blocks(text)):
                return True
        elif _BACKEND.search(text):
            return True
    return False


def keep_state_in(directory: Path, place: Path) -> None:
    """Make a stack without a backend keep its state in ``place``, as Terraform would if it ran there."""
    backend = {"terraform": {"backend": {"local": {"path": str(place / "terraform.tfstate")}}}}
    (directory / "triplane_state_override.tf.json").write_text(json.dumps(backend))


def resource_types(directory: Path, *, tofu: bool = False) -> set[str]:
    """The resource types that an initialized stack and its modules declare."""
    manifest = directory / ".terraform" / "modules" / "modules.json"
    folders = {directory}
    if manifest.exists():
        folders |= {directory / item["Dir"] for item in json.loads(manifest.read_text())["Modules"]}
    found: set[str] = set()
    for folder in folders:
        for path in hcl_files(folder, tofu=tofu):
            text = path.read_text()
            is_json = path.suffix == ".json"
            found |= set(json.loads(text).get("resource", {}) if is_json else _RESOURCE.findall(text))
    return found
