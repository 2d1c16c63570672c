"""Which Terraform or OpenTofu it is, and whether it may run: ``required_version`` of the platform spec and of the HCL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from triplane.core.constraints import accepts
from triplane.core.errors import InputError
from triplane.terraform.workspace import hcl_files, json_blocks

OLDEST = ">= 1.9"
"""What this package works with."""
LOCK_FILE = ">= 1.10"
_REQUIRED = re.compile(r'^\s*required_version\s*=\s*"([^"]*)"', re.MULTILINE)
_SAID = re.compile(r"^(Terraform|OpenTofu) v(\S+)", re.MULTILINE)
_NAMES = {"Terraform": "terraform", "OpenTofu": "tofu"}


@dataclass(frozen=True)
class Version:
    """``tool`` is ``terraform`` or ``tofu``, ``number`` such as ``1.11.4``."""

    tool: str
    number: str

    def __str__(self) -> str:
        return f"{self.tool} {self.number}"


def parse(said: str) -> Version:
    """What ``terraform version`` or ``tofu version`` prints.

    :raises InputError: neither of them printed this
    """
    found = _SAID.search(said)
    if found is None:
        raise InputError(
            f"this is neither Terraform nor OpenTofu; asked for its version it says: {said[:200]!r}"
        )
    return Version(_NAMES[found[1]], found[2])


def required(directory: Path, *, tofu: bool = False) -> dict[str, str]:
    """Where a stack's own files say ``required_version``, and what: ``{"main.tf:2": "~> 1.9"}``."""
    found = {}
    for path in hcl_files(directory, tofu=tofu):
        text = path.read_text()
        if path.suffix == ".json":
            said = [
                str(block["required_version"]) for block in json_blocks(text) if "required_version" in block
            ]
            if said:
                found[path.name] = ", ".join(said)
        else:
            for match in _REQUIRED.finditer(text):
                found[f"{path.name}:{text.count(chr(10), 0, match.start(1)) + 1}"] = match[1]
    return found


def check(directory: Path, version: Version, wanted: str | None = None) -> None:
    """Whether this package, the platform spec (``wanted``) and the stack accept ``version``.

    :raises InputError: one of them does not
    """
    if not accepts(OLDEST, version.number):
        raise InputError(f"{version} is too old: {OLDEST} is needed; install another on this worker")
    said = {"the platform spec": wanted} if wanted else {}
    for where, constraints in (said | required(directory, tofu=version.tool == "tofu")).items():
        try:
            fits = accepts(constraints, version.number)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if not fits:
            raise InputError(
                f'{where}: required_version = "{constraints}" does not accept {version}; '
                "install one that it accepts, or name one with `terraform_bin`"
            )


def check_backend(settings: Mapping[str, object], version: Version) -> None:
    """:raises InputError: ``version`` does not know what the state backend's ``settings`` ask for"""
    if settings.get("use_lockfile") and not accepts(LOCK_FILE, version.number):
        raise InputError(
            f"{version} cannot lock a state in S3 with a lock file, {LOCK_FILE} can: install that on this worker, or "
            "name a DynamoDB table (`lock_table`)"
        )
