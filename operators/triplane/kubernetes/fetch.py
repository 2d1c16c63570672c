"""A chart wherever it comes from, ready to be installed; and the files with its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from triplane.core.digest import digest, digest_tree
from triplane.core.errors import InputError
from triplane.kubernetes.charts import Pull, assemble, check_chart, complete, pack, unpack
from triplane.kubernetes.plan import merge


@dataclass(frozen=True)
class Chart:
    """A chart's folder. ``packed`` is what the artifact store keeps of one that is not whole in the source."""

    path: Path
    digest: str
    packed: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a chart is: a folder (``root`` is the source's, None for a folder of the worker), or a repository."""

    path: Path | None
    root: Path | None = None
    repository: str | None = None
    name: str | None = None
    version: str | None = None

    @property
    def is_packed(self) -> bool:
        """Whether parts of the chart come from elsewhere, so that it is kept when it is planned."""
        if self.path is None:
            return True
        check_chart(self.path)
        return not complete(self.path)


def fetch(place: Place, pull: Pull, folder: Path) -> Chart:
    """The chart with all that it depends on, made in ``folder`` where the source does not hold it whole.

    :raises InputError: there is no such chart, or it cannot be installed
    """
    if place.path is None:
        if not (place.repository and place.name and place.version):
            raise InputError("a chart needs a path, or a repository, its name there and its version")
        chart = pull(place.repository, place.name, place.version, folder / "chart")
        check_chart(chart)
    else:
        check_chart(place.path)
        if complete(place.path):
            return Chart(place.path, digest_tree(place.path))
        chart = assemble(place.path, folder / "chart", pull, place.root)
    data = pack(chart)
    return Chart(chart, digest(data), data)


def open_packed(data: bytes, folder: Path) -> Chart:
    """The chart that :func:`fetch` packed."""
    return Chart(unpack(data, folder / "chart"), digest(data), data)


def read_values(root: Path, names: Sequence[str]) -> dict[str, Any]:
    """The values of several files, later ones over earlier ones.

    :raises InputError: one of them is missing, leads outside ``root``, or is not a mapping
    """
    values: dict[str, Any] = {}
    for name in names:
        path = root / name
        if not path.resolve().is_relative_to(root.resolve()):
            raise InputError(f"values file {name} leads outside the source")
        if not path.is_file():
            raise InputError(f"values file {name} is not in the source")
        try:
            found = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f"values file {name} is not YAML: {error}") from error
        if not isinstance(found, dict | None):
            raise InputError(f"values file {name} is not a mapping")
        merge(values, found or {})
    return values
