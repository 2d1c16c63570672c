"""Keys that are made for one run, let in by EC2 Instance Connect and by OS Login, with real Ansible and a real sshd."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.fernet import Fernet

from tests.e2e.monitoring_lab import direct
from tests.e2e.test_kubernetes import until
from tests.machine_lab import Lab
from tests.ordered import MINE, OWNER
from triplane.sandbox.aws import client, instance_keys
from triplane.sandbox.gcp.state import PROJECT
from triplane.sandbox.machines.machine import Machine
from triplane.sandbox.runtime import Sandbox, listens

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.copy: {dest: "{{ machine_home }}/there", content: x, mode: "0600"}
"""
AWS = {"cloud": "aws", "cloud_conn_id": "aws_default", "cloud_options": {"region": "eu-west-1"}}
GCP = {"cloud": "gcp", "cloud_conn_id": "google_cloud_default", "cloud_options": {"project": PROJECT}}
COMMON: dict[str, Any] = {"key": None, "variables": {}}


@pytest.fixture
def machine(
    sandbox: Sandbox, cloud_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machine]:
    """One that nobody's key is let into yet."""
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    found = Machine("m", tmp_path / "m", sandbox.port(f"login-{tmp_path.name}"))
    found.prepare("")
    server = found.start()
    until(lambda: listens(found.port))
    yield found
    server.terminate()
    server.wait()


@pytest.fixture
def lab(machine: Machine, tmp_path: Path) -> Lab:
    found = Lab(tmp_path / "play", [machine])
    found.write("site.yml", PLAYBOOK)
    return found


def takes(machine: Machine, keys: Path) -> None:
    """The keys that are let into the machine are those of this file."""
    (machine.folder / "authorized_keys").unlink()
    (machine.folder / "authorized_keys").symlink_to(keys)


def logged_in(machine: Machine) -> int:
    return (machine.folder / "log").read_text().count("Accepted publickey")


def test_ec2_instance_connect(
    lab: Lab, machine: Machine, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    ec2 = client(sandbox, "ec2")
    (instance,) = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"]
    identity = instance["InstanceId"]
    keys = instance_keys(sandbox.home) / identity
    takes(machine, keys)
    given = {**COMMON, **AWS, "login": "ec2_instance_connect", "hosts": {identity: machine.host()}}
    change = lab.plan(**given)
    assert change["summary"] == "run site.yml on 1 of 1 host: 1 to change"
    assert lab.apply(**given, change=change)["state"] == "deployed"
    assert (machine.home / "there").read_text() == "x"
    shown = {line.split()[-1] for line in keys.read_text().splitlines()}
    assert len(shown) >= 2, "each run has a key of its own"

    stranger = {**given, "hosts": {"m": machine.host()}}
    with pytest.raises(AirflowFailException, match="the instance of m is not known"):
        lab.plan(**stranger)
    with pytest.raises(AirflowFailException, match="connects by itself; remove ProxyJump"):
        lab.plan(**given, ssh={"ProxyJump": "bastion"})
    ec2.stop_instances(InstanceIds=[identity])
    with pytest.raises(AirflowException, match="1 of 1 hosts are unreachable"):
        lab.plan(**given)
    said = "".join(capsys.readouterr())
    assert "EC2 Instance Connect: 127.0.0.1: An error occurred (EC2InstanceState" in said
    assert f"{identity} is not running" in said


def test_os_login(
    lab: Lab,
    machine: Machine,
    sandbox: Sandbox,
    cloud_env: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    connection = json.loads(cloud_env["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    account = json.loads(connection["extra"]["keyfile_dict"])["client_email"]
    keys = sandbox.home / "os-login" / account
    keys.parent.mkdir(exist_ok=True)
    takes(machine, keys)
    host = {name: value for name, value in machine.host().items() if name != "user"}
    given = {**COMMON, **GCP, "login": "os_login", "hosts": {"m": host}}
    assert lab.apply(**given)["state"] == "deployed"
    assert logged_in(machine) == 1
    assert keys.read_text() == "", "the key is taken away with the run"
    refused = {"path": "/sshPublicKeys/", "method": "DELETE", "status": 400, "owner": OWNER}
    direct(sandbox, "gcp-rest", MINE, refused)
    lab.run = "again"
    assert lab.apply(**given)["state"] == "unchanged", "what was done counts"
    assert "OS Login: the key of this run stays until it expires, in a day" in "".join(capsys.readouterr())
    assert keys.read_text().startswith('expiry-time="')

    with pytest.raises(AirflowFailException, match=r"OS Login: .* 403 .* needs roles/compute.osLogin"):
        lab.plan(**{**given, "cloud_options": {"project": "another"}})
    for wrong in ({"login": "telnet"}, {"cloud": "aws"}, {"key": "${variable.streaming_ssh_key}"}):
        with pytest.raises(AirflowFailException, match="takes the connection of its cloud, and no `key`"):
            lab.plan(**{**given, **wrong})


def test_the_key_is_in_no_argument(lab: Lab, machine: Machine, sandbox: Sandbox) -> None:
    """What ssh is called with is the path of a file that holds the public half."""
    from triplane.machines.hosts import parse
    from triplane.machines.login import knocking, new_pair

    pair, hosts = new_pair(), parse({"i-0123456789abcdef0": machine.host()})
    options = knocking(lab.folder, pair.public, hosts)
    assert "PRIVATE" not in "".join(path.read_text() for path in lab.folder.iterdir()) + str(options)
    assert "PRIVATE" not in repr(pair)
    listed = subprocess.run(["ssh-keygen", "-lf", "-"], input=pair.public, text=True, capture_output=True)
    assert "ED25519" in listed.stdout
