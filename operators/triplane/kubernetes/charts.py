"""Charts: complete with their dependencies, packed in the same bytes each time."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from triplane.core.digest import tree_files
from triplane.core.errors import InputError

DEEPEST = 10
Pull = Callable[[str, str, str, Path], Path]
"""Repository, name, version (may be a range) and a folder to put the chart in -> the chart's own folder."""


@dataclass(frozen=True)
class Dependency:
    """One chart that another one needs; ``version`` is the locked one, or the range that is asked for."""

    name: str
    version: str
    repository: str


def check_chart(chart: Path) -> None:
    """:raises InputError: ``chart`` holds no chart that can be installed"""
    if not (chart / "Chart.yaml").is_file():
        raise InputError(f"there is no chart in {chart.name}: it has no Chart.yaml")
    if _yaml(chart / "Chart.yaml").get("type") == "library":
        raise InputError(
            f"{chart.name} is a library chart: other charts use it, it cannot be installed itself"
        )


def dependencies(chart: Path) -> list[Dependency]:
    """What a chart depends on, at the versions of its lock file if it has one.

    :raises InputError: the lock file is out of date
    """
    for name, lock in (("Chart.yaml", "Chart.lock"), ("requirements.yaml", "requirements.lock")):
        wanted = _yaml(chart / name).get("dependencies") if (chart / name).is_file() else None
        if not wanted:
            continue
        locked = _yaml(chart / lock).get("dependencies") or [] if (chart / lock).is_file() else None
        return [_dependency(chart, item, locked) for item in wanted]
    return []


def missing(chart: Path) -> list[Dependency]:
    """Dependencies that are neither a folder nor an archive in ``charts/``, each once."""
    there = _vendored(chart)
    wanted = dict.fromkeys(dependencies(chart))
    return [item for item in wanted if item.name not in there and not _archived(chart, item.name)]


def complete(chart: Path) -> bool:
    """Whether nothing is missing, in the subcharts neither."""
    return not missing(chart) and all(complete(folder) for folder in _vendored(chart).values())


def assemble(chart: Path, into: Path, pull: Pull, root: Path | None, depth: int = 0) -> Path:
    """Copy a chart to ``into`` and put everything that it depends on into its ``charts/``.

    ``file://`` is relative to the chart and must stay inside ``root``.

    :raises InputError: a dependency cannot be found, or charts depend on each other in a circle
    """
    if depth > DEEPEST:
        raise InputError(f"{chart.name}: its dependencies go deeper than {DEEPEST}; do they go in a circle?")
    try:
        shutil.copytree(chart, into)
    except shutil.Error as error:
        raise InputError(f"{chart.name} cannot be copied: {error.args[0][0][2]}") from error
    for name, folder in _vendored(chart).items():
        if not complete(folder):
            shutil.rmtree(into / "charts" / folder.name)
            assemble(folder, into / "charts" / (name or folder.name), pull, root, depth + 1)
    for item in missing(chart):
        place = into / "charts" / f"{item.name}-{re.sub(r'[^0-9A-Za-z.-]', '_', item.version)}"
        if item.repository.startswith("file://"):
            assemble(_local(chart, item, root), place, pull, root, depth + 1)
        else:
            pull(item.repository, item.name, item.version, place)
    return into


def pack(chart: Path) -> bytes:
    """A chart's folder as an archive that depends on names, executable bits and contents only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in tree_files(chart):
            info = tarfile.TarInfo(path.relative_to(chart).as_posix())
            data = path.read_bytes()
            info.size, info.mode = len(data), 0o755 if path.stat().st_mode & 0o100 else 0o644
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(data: bytes, into: Path) -> Path:
    """The inverse of :func:`pack`."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(into, filter="data")
    return into


def _dependency(chart: Path, item: Mapping[str, Any], locked: list[Any] | None) -> Dependency:
    name, repository = str(item.get("name")), str(item.get("repository") or "")
    if repository.startswith(("@", "alias:")):
        raise InputError(
            f"{chart.name} takes {name} from {repository}, which is a name on somebody's machine; write its URL"
        )
    if locked is None:
        return Dependency(name, str(item.get("version") or ""), repository)
    found = [other for other in locked if other.get("name") == name]
    found = [other for other in found if str(other.get("repository") or "") == repository]
    if not found:
        raise InputError(
            f"the lock file of {chart.name} does not know {name} from {repository or 'charts/'}; "
            "run `helm dependency update` and commit it"
        )
    return Dependency(name, str(found[0]["version"]), repository)


def _vendored(chart: Path) -> dict[str, Path]:
    """The subcharts that are folders, by name."""
    folders = sorted(path.parent for path in (chart / "charts").glob("*/Chart.yaml"))
    return {str(_yaml(folder / "Chart.yaml").get("name")): folder for folder in folders}


def _archived(chart: Path, name: str) -> bool:
    pattern = re.compile(re.escape(name) + r"-v?\d[^/]*\.tgz")
    return any(pattern.fullmatch(path.name) for path in (chart / "charts").glob("*.tgz"))


def _local(chart: Path, item: Dependency, root: Path | None) -> Path:
    folder = (chart / item.repository.removeprefix("file://")).resolve()
    if root is not None and not folder.is_relative_to(root.resolve()):
        raise InputError(f"{chart.name} depends on {item.repository}, which leads outside the source")
    if not (folder / "Chart.yaml").is_file():
        raise InputError(f"{chart.name} depends on {item.repository}, where there is no chart")
    return folder


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path.parent.name}/{path.name} is not YAML: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path.parent.name}/{path.name} is not a mapping")
    return found
