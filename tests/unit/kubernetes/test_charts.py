from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from triplane.core.errors import InputError
from triplane.kubernetes.charts import Dependency, assemble, complete, dependencies, missing, pack, unpack
from triplane.kubernetes.fetch import Place, fetch, read_values

REPOSITORY = "https://charts.example"


def chart(folder: Path, *needs: tuple[str, str], lock: dict[str, str] | None = None, **more: Any) -> Path:
    """``needs``: name and repository of each dependency."""
    (folder / "templates").mkdir(parents=True, exist_ok=True)
    wanted = [{"name": name, "version": "~1.0", "repository": url} for name, url in needs]
    body = {"apiVersion": "v2", "name": folder.name, "version": "1.0.0", "dependencies": wanted, **more}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(body))
    if lock is not None:
        locked = [{"name": n, "version": v, "repository": dict(needs).get(n, "")} for n, v in lock.items()]
        (folder / "Chart.lock").write_text(yaml.safe_dump({"dependencies": locked, "generated": "now"}))
    return folder


class Pulls:
    def __init__(self) -> None:
        self.made: list[tuple[str, str, str]] = []

    def __call__(self, repository: str, name: str, version: str, into: Path) -> Path:
        self.made.append((repository, name, version))
        chart(into)
        (into / "Chart.yaml").write_text(f"name: {name}\nversion: 1.0.7\n")
        return into


def test_dependencies_are_pulled_once_at_the_locked_versions(tmp_path: Path) -> None:
    needs = (("redis", REPOSITORY), ("redis", REPOSITORY), ("common", f"{REPOSITORY}/other"))
    top = chart(tmp_path / "top", *needs, lock={"redis": "1.0.4", "common": "1.0.2"})
    pulls = Pulls()
    made = assemble(top, tmp_path / "out", pulls, tmp_path)
    assert pulls.made == [(REPOSITORY, "redis", "1.0.4"), (f"{REPOSITORY}/other", "common", "1.0.2")]
    assert complete(made)
    assert not complete(top), "the source is left alone"


def test_what_is_in_charts_is_not_pulled(tmp_path: Path) -> None:
    top = chart(tmp_path / "top", ("redis", REPOSITORY), ("common", REPOSITORY), ("red", REPOSITORY))
    chart(top / "charts" / "any-name", name="redis")
    (top / "charts" / "common-1.0.3.tgz").write_bytes(b"")
    assert [item.name for item in missing(top)] == ["red"]


def test_local_charts_are_completed_too(tmp_path: Path) -> None:
    chart(tmp_path / "library", type="library")
    chart(tmp_path / "middle", ("library", "file://../library"), ("redis", REPOSITORY))
    top = chart(tmp_path / "top", ("middle", "file://../middle"))
    chart(top / "charts" / "own", ("library", "file://../../../library"))
    made = assemble(top, tmp_path / "out", Pulls(), tmp_path)
    assert complete(made)
    names = sorted(yaml.safe_load(path.read_text())["name"] for path in made.rglob("Chart.yaml"))
    assert names == ["library", "library", "middle", "own", "redis", "top"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file://../../outside", "leads outside the source"),
        ("file://../nothing", "there is no chart"),
        ("@bitnami", "a name on somebody's machine"),
        ("alias:bitnami", "a name on somebody's machine"),
        ("file://../top", "circle"),
    ],
)
def test_a_dependency_that_cannot_be_had(tmp_path: Path, url: str, message: str) -> None:
    chart(tmp_path / "outside")
    top = chart(tmp_path / "source" / "top", ("other", url))
    with pytest.raises(InputError, match=message):
        assemble(top, tmp_path / "out", Pulls(), tmp_path / "source")


def test_a_lock_file_that_is_out_of_date(tmp_path: Path) -> None:
    top = chart(tmp_path / "top", ("redis", REPOSITORY), lock={"common": "1.0.2"})
    with pytest.raises(InputError, match="helm dependency update"):
        dependencies(top)


def test_old_charts_keep_dependencies_in_a_file_of_their_own(tmp_path: Path) -> None:
    old = chart(tmp_path / "old")
    wanted = [{"name": "redis", "version": "1.x", "repository": REPOSITORY}]
    (old / "requirements.yaml").write_text(yaml.safe_dump({"dependencies": wanted}))
    assert dependencies(old) == [Dependency("redis", "1.x", REPOSITORY)]


def test_packing_depends_on_contents_only(tmp_path: Path) -> None:
    one, two = chart(tmp_path / "a" / "web"), chart(tmp_path / "b" / "web")
    (two / "run.sh").write_text("x")
    (one / "run.sh").write_text("x")
    os.utime(two / "run.sh", (1, 1))
    assert pack(one) == pack(two)
    (two / "run.sh").chmod(0o755)
    assert pack(one) != pack(two)
    assert pack(unpack(pack(two), tmp_path / "again")) == pack(two)


def test_a_whole_chart_is_taken_where_it_is(tmp_path: Path) -> None:
    found = fetch(Place(path=chart(tmp_path / "web")), Pulls(), tmp_path / "work")
    assert (found.path, found.packed) == (tmp_path / "web", None)


def test_a_library_and_a_folder_without_a_chart_cannot_be_installed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="library chart"):
        fetch(Place(path=chart(tmp_path / "lib", type="library")), Pulls(), tmp_path / "work")
    with pytest.raises(InputError, match=r"no Chart\.yaml"):
        fetch(Place(path=tmp_path), Pulls(), tmp_path / "work")


def test_values_files_lie_over_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: {x: 1, y: [1, 2]}\nb: 1\n")
    (tmp_path / "b.yaml").write_text("a: {y: [3]}\nb: null\nc: ${HOME}\n")
    (tmp_path / "empty.yaml").write_text("")
    values = read_values(tmp_path, ["a.yaml", "b.yaml", "empty.yaml"])
    assert values == {"a": {"x": 1, "y": [3]}, "b": None, "c": "${HOME}"}


@pytest.mark.parametrize(
    ("name", "text"), [("a.yaml", "- a\n"), ("a.yaml", "a: [\n"), ("../a.yaml", "a: 1\n")]
)
def test_values_files_that_are_none(tmp_path: Path, name: str, text: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / name).write_text(text)
    with pytest.raises(InputError, match="values file"):
        read_values(source, [name])
