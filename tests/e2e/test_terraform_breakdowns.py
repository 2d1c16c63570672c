"""Providers that die, providers that are not the ones that were locked, and full disks: nothing is lost."""

from __future__ import annotations

import ctypes
import hashlib
import json
import multiprocessing
import os
import shlex
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

import triplane
from tests.e2e.terraform_lab import CloudLab, Lab
from triplane.sandbox.runtime import default_cache
from triplane.sandbox.terraform import CONFIG, HOSTS, platform
from triplane.terraform.workspace import LOCK_FILE

FRAGILE = """
terraform {
  backend "local" {
  }
  required_providers {
    fragile = {
      source = "hashicorp/fragile"
    }
  }
}
variable "name" {
  default = "second"
}
resource "fragile_thing" "first" {
  name = "first"
}
resource "fragile_thing" "second" {
  depends_on = [fragile_thing.first]
  name       = var.name
}
"""
LOCKED = """
provider "registry.terraform.io/hashicorp/fragile" {
  version = "1.0.0"
  hashes = [
    "h1:uO4k4xqqpQ0a0cqyQr3v0cJ8s6w0nG9f0lC5f1cQJtE=",
  ]
}
"""
LARGE = """
terraform {
  backend "%s" {
  }
}
resource "terraform_data" "large" {
  input = join("", [for i in range(1000) : join("", [for j in range(20) : sha256("${i}-${j}")])])
}
"""
DIED = "(?:Plugin did not respond|Request cancelled)"
"""Terraform says the one or the other, as its connection breaks or its watch of the process notices first."""
NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000
KB = 1024


@pytest.fixture
def fragile(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab whose provider dies at certain names."""
    python = default_cache() / "venvs" / "terraform-provider" / "bin" / "python"
    mirror, sources = tmp_path / "mirror", tmp_path / "python"
    place = mirror / HOSTS[0] / "hashicorp" / "fragile" / "1.0.0" / platform()
    place.mkdir(parents=True)
    sources.mkdir()
    (sources / "triplane").symlink_to(Path(triplane.__file__).parent)
    script = Path(__file__).with_name("fragile_provider.py")
    launcher = place / "terraform-provider-fragile_v1.0.0"
    launcher.write_text(
        f"#!/bin/sh\nexec {shlex.join(map(str, (python, '-I', script, sources, tmp_path)))}\n"
    )
    launcher.chmod(0o755)
    (tmp_path / "terraform.rc").write_text(
        CONFIG.format(mirror=mirror, mirrored=json.dumps([f"{HOSTS[0]}/hashicorp/fragile"]))
    )
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(tmp_path / "terraform.rc"))
    lab.stack("network", FRAGILE)
    return lab


def test_a_provider_that_dies_in_a_plan(fragile: Lab) -> None:
    wanted = f"{DIED}.*PlanResourceChange.*the provider died.*look at this worker's memory"
    with pytest.raises(AirflowException, match=wanted) as died:
        fragile.plan(variables={"name": "dies in plan"})
    assert not isinstance(died.value, AirflowFailException), "a retry may help"
    assert not fragile.store.exists()
    assert not fragile.state.exists()
    assert fragile.plan()["summary"] == "2 to add"


def test_a_provider_that_dies_in_an_apply(fragile: Lab) -> None:
    variables = {"name": "dies in create"}
    change = fragile.plan(variables=variables)
    wanted = rf"{DIED}.*ApplyResourceChange.*\(at fragile_thing\.second\); the provider died"
    with pytest.raises(AirflowFailException, match=wanted):
        fragile.apply(change, variables=variables)
    assert fragile.kinds() == ["applying", "failed"]
    state = json.loads(fragile.state.read_text())
    assert [resource["name"] for resource in state["resources"]] == ["first"]
    again = fragile.plan()
    assert again["summary"] == "1 to add"
    assert "fragile_thing.second was being created when that was cut off and may exist" in again["lines"][0]
    assert fragile.apply(again)["state"] == "deployed"


def test_a_provider_that_is_not_the_locked_one(fragile: Lab) -> None:
    (fragile.home / "infra" / "network" / LOCK_FILE).write_text(LOCKED)
    wanted = r"hashicorp/fragile 1\.0\.0 doesn't match any of the checksums.*run `terraform providers lock`"
    with pytest.raises(AirflowFailException, match=wanted):
        fragile.plan()
    assert not fragile.state.exists()


def test_no_room_for_a_plan(lab: Lab, cloud_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = CloudLab(lab.home / "cloud", "s3")
    cloud.stack("network", LARGE % "s3")
    said = with_tiny_disks({temporary(lab, monkeypatch): 400 * KB}, cloud.plan)
    assert said.startswith(
        "AirflowException: aws/stack/network: terraform plan ended with 1: Failed to write plan"
    )
    assert said.endswith("no space left on device; make room on this worker's disk and try again")
    assert not cloud.store.exists()
    assert cloud.lock() is None
    assert cloud.apply(cloud.plan())["state"] == "deployed"


def test_no_room_for_anything(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.stack("network", LARGE % "local")
    said = with_tiny_disks({temporary(lab, monkeypatch): 4 * KB}, lab.plan)
    assert said.startswith("AirflowException: aws/stack/network: this worker's disk is full; make room in ")


@pytest.mark.parametrize("beside", [None, 1500 * KB], ids=["in_a_file", "among_the_events"])
def test_no_room_for_the_state(beside: int | None, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Terraform leaves the state in its working directory, and where that is full as well, says it."""
    lab.stack("network", LARGE % "local")
    change = lab.plan()
    lab.state.parent.mkdir(parents=True, exist_ok=True)
    full = {lab.state.parent: 64 * KB}
    if beside:
        full[temporary(lab, monkeypatch)] = beside
    said = with_tiny_disks(full, lambda: lab.apply(change))
    assert said.startswith(
        "AirflowFailException: aws/stack/network: terraform apply ended with 1: Failed to write"
    )
    assert said.endswith("make room on this worker's disk and try again")
    assert hashlib.sha256(b"0-0").hexdigest() not in said, "no piece of the state"
    assert not lab.state.exists()
    assert lab.kinds() == ["applying", "failed"]
    assert lab.apply(change)["state"] == "deployed"
    assert lab.kinds() == ["applying", "failed", "restored", "applied"]
    state = json.loads(lab.state.read_text())
    assert [resource["name"] for resource in state["resources"]] == ["large"]
    assert lab.plan()["action"] == "none"


def temporary(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory from now on: working directories, plans, private files."""
    place = lab.home / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def with_tiny_disks(disks: Mapping[Path, int], work: Callable[[], object]) -> str:
    """Do ``work`` in a process for which each folder is an empty disk of so many bytes; the error it ended with."""
    read, write = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_on_tiny_disks, args=(disks, work, write))
    process.start()
    write.close()
    said: str = read.recv()
    process.join()
    if said.startswith("PermissionError: "):
        pytest.skip(said)
    return said


def _on_tiny_disks(disks: Mapping[Path, int], work: Callable[[], object], write: Connection) -> None:
    try:
        _mount(disks)
        work()
        write.send("done")
    except Exception as error:
        write.send(f"{type(error).__name__}: {error}")


def _mount(disks: Mapping[Path, int]) -> None:
    """File systems in memory, seen by this process and those that it starts."""
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_USER | NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "this machine does not allow user namespaces")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    for folder, size in disks.items():
        if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, f"size={size},mode=700".encode()):
            raise OSError(ctypes.get_errno(), "mount", str(folder))
