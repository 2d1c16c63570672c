"""Real Ansible on real SSH servers."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from cryptography.fernet import Fernet

from tests.e2e.test_kubernetes import processes, until
from tests.machine_lab import PLAYBOOK, SECRET, Lab, context_of
from triplane import settings
from triplane.machines.ansible import find
from triplane.machines.drift_operators import AnsibleDriftBatchOperator
from triplane.sandbox.aws import client
from triplane.sandbox.machines.machine import Machine, key_pair
from triplane.sandbox.machines.part import machines
from triplane.sandbox.runtime import Sandbox
from triplane.source.freeze import freeze

EXAMPLE = Path(__file__).parents[2] / "examples" / "streaming-platform"


@pytest.fixture
def lab(
    sandbox: Sandbox, cloud_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW_VAR_TOKEN", SECRET)
    found = Lab(tmp_path / "play", machines(sandbox, "aws"))
    yield found
    for machine in found.machines:
        shutil.rmtree(machine.home)
        machine.home.mkdir()


def test_planned_applied_left_alone_and_damaged(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = lab.machines
    unit = {name: value for name, value in lab.kwargs().items() if name != "task_id"}
    (never,) = AnsibleDriftBatchOperator(task_id="drift", components=[unit]).execute({})
    assert (never["state"], never["pending"]) == ("pending", "it never ran")
    change = lab.plan()
    assert (change["action"], change["risk"]) == ("create", "medium")
    assert change["summary"] == "run site.yml on 2 of 2 hosts: 4 to change, 2 that cannot be foreseen"
    assert "~ aws-worker-1, aws-worker-2: credentials (lineinfile)" in change["lines"]
    assert "    (hidden by no_log)" in change["lines"]
    assert "    +level=info" in change["lines"]
    assert "? aws-worker-1, aws-worker-2: not everywhere: check mode cannot tell" in change["lines"]
    assert not list(first.home.glob("app.conf")), "a plan changes nothing"
    with pytest.raises(AirflowFailException, match=r"not what was approved.*settings differ"):
        lab.apply(change=change, variables={"level": "debug", "token": "${variable.token}"})

    seen: list[str] = []
    result: dict[str, object] = {}
    task = threading.Thread(target=lambda: result.update(lab.apply(change=change)))
    task.start()
    while task.is_alive():
        seen += processes("ansible").values()
        time.sleep(0.2)
    assert result["state"] == "deployed"
    assert result["details"] == {"hosts": "2", "ok": "0", "changed": "2", "failed": "0", "unreachable": "0"}
    assert f"level=info\ntoken={SECRET}\n" in lab.config(first).read_text(), "a value is no template"
    assert any("--extra-vars" in line for line in seen)
    assert lab.apply(change=change)["state"] == "deployed", "a retry finds its work done"

    same = lab.plan()
    assert (same["action"], same["summary"]) == ("none", "nothing to do on 2 hosts")
    assert lab.apply(change=same)["state"] == "unchanged"

    lab.config(second).write_text(lab.config(second).read_text().replace(SECRET, "of-before"))
    lab.write("site.yml", PLAYBOOK.replace("level={{ level }}", "loglevel={{ level }}"))
    newer = {**unit, "source": lab.kwargs()["source"]}
    (drift,) = AnsibleDriftBatchOperator(task_id="drift", components=[newer]).execute({})
    assert (drift["state"], drift["pending"]) == ("drifted", "the playbook or its settings have changed")
    assert [item["address"] for item in drift["resources"]] == ["aws-worker-2: settings"], (
        "what ran is what counts"
    )
    lab.write("site.yml", PLAYBOOK)
    damaged = lab.plan()
    assert [line for line in damaged["lines"] if line.startswith("~")] == [
        "~ aws-worker-2: settings (blockinfile)"
    ]
    assert "of-before" not in json.dumps(damaged), "an older secret is not shown either"
    lab.config(first).write_text("somebody was faster")
    lab.run = "another"
    with pytest.raises(AirflowFailException, match=r"aws-worker-1 is not as it was when this was planned"):
        lab.apply(change=damaged)
    said = "".join(capsys.readouterr())
    assert "TASK settings" in said
    for text in (said, json.dumps([change, damaged, drift, lab.xcom]), *seen):
        assert SECRET not in text
        assert "PRIVATE KEY" not in text


def test_the_result_says_who_failed_and_a_retry_is_for_these(lab: Lab, sandbox: Sandbox) -> None:
    first, second = lab.machines
    away = Machine("away", lab.folder.parent / "away", sandbox.port("machine-away"))
    away.prepare((first.folder / "authorized_keys").read_text())
    lab.machines = [first, second, away]
    (second.home / "broken").touch()
    with pytest.raises(AirflowException) as raised:
        lab.apply()
    said = str(raised.value)
    assert (
        "of 3 hosts 1 failed (aws-worker-2: not everywhere: non-zero return code), 1 unreachable (away: "
        in said
    )
    assert "1 are done. The next try goes on with the 2 that are left" in said
    assert lab.states() == {"aws-worker-1": "changed", "aws-worker-2": "failed", "away": "unreachable"}
    assert lab.xcom["return_value"]["details"]["unreachable"] == "1"

    (second.home / "broken").unlink()
    lab.config(first).unlink()
    server = away.start()
    try:
        until(lambda: _answers(away))
        assert lab.apply()["state"] == "deployed"
    finally:
        server.terminate()
        server.wait()
    assert not lab.config(first).exists(), "the retry did not touch it"
    assert lab.states() == {"aws-worker-1": "changed", "aws-worker-2": "changed", "away": "changed"}


def test_a_machine_with_another_key_is_refused(lab: Lab) -> None:
    hosts = {machine.name: machine.host() for machine in lab.machines}
    hosts["aws-worker-2"]["host_key"] = key_pair()[1]
    with pytest.raises(AirflowFailException, match=r"aws-worker-2 did not show the host key that is known"):
        lab.plan(hosts=hosts)
    sneaky = {"ansible_ssh_extra_args": "-o StrictHostKeyChecking=no", "ansible_ssh_host_key_checking": False}
    hosts["aws-worker-2"]["variables"] |= sneaky
    with pytest.raises(AirflowFailException, match=r"aws-worker-2 did not show the host key that is known"):
        lab.apply(hosts=hosts)
    del hosts["aws-worker-1"]["host_key"], hosts["aws-worker-2"]["host_key"]
    with pytest.raises(AirflowFailException, match=r"no host key is known of aws-worker-1, aws-worker-2"):
        lab.plan(hosts=hosts)


@pytest.mark.campaign
def test_through_a_bastion_whose_key_is_checked_too(lab: Lab) -> None:
    bastion, machine = lab.machines
    host = {machine.name: machine.host()}
    ssh = {"ProxyJump": f"{machine.host()['user']}@localhost:{bastion.port}"}
    with pytest.raises(AirflowException, match=r"1 of 1 hosts are unreachable"):
        lab.plan(hosts=host, ssh=ssh)
    known = [f"[localhost]:{bastion.port} {bastion.host_key}"]
    log = bastion.folder.parents[1] / "logs" / f"machine-{bastion.name}.log"
    before = log.read_text().count("Accepted publickey")
    assert lab.plan(hosts=host, ssh=ssh, known_hosts=known)["action"] == "create"
    assert log.read_text().count("Accepted publickey") > before


def test_machines_found_by_their_tags(lab: Lab, sandbox: Sandbox) -> None:
    """The cloud's own inventory plugin asks EC2; the tags say where the sandbox has the machine."""
    first, second = lab.machines
    ec2 = client(sandbox, "ec2")
    role = f"role-{time.time_ns()}"
    for machine, value in ((first, role), (second, "another")):
        tags = [{"Key": "role", "Value": value}, {"Key": "port", "Value": str(machine.port)}]
        tags.append({"Key": "home", "Value": str(machine.home)})
        specification = [{"ResourceType": "instance", "Tags": tags}]
        ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=specification)
    plugin = {
        "plugin": "amazon.aws.aws_ec2",
        "regions": ["eu-west-1"],
        "filters": {"tag:role": role, "instance-state-name": "running"},
        "hostnames": ["instance-id"],
        "compose": {
            "ansible_host": "'127.0.0.1'",
            "ansible_port": "tags.port | int",
            "machine_home": "tags.home",
            "ansible_remote_tmp": "tags.home ~ '/.ansible'",
        },
    }
    lab.write("workers.aws_ec2.yml", json.dumps(plugin))
    found = {
        "hosts": None,
        "inventory": ["workers.aws_ec2.yml"],
        "user": first.host()["user"],
        "known_hosts": [f"[127.0.0.1]:{first.port} {first.host_key}"],
    }
    lab.write("broken.yml", "plugin: nobody.has.this")
    with pytest.raises(AirflowFailException, match="the inventory cannot be read"):
        lab.plan(**{**found, "inventory": ["broken.yml"]})
    access = {"cloud": "aws", "cloud_conn_id": "aws_default", "cloud_options": {"region": "eu-west-1"}}
    change = lab.plan(**found, **access)
    (line,) = [line for line in change["lines"] if "settings" in line]
    assert line.startswith("~ i-")
    assert change["summary"].startswith("run site.yml on 1 of 1 host:")


def test_what_a_secret_says_of_the_machines_is_in_no_file(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine, _) = lab.machines
    body = machine.host()
    body["variables"] |= {"token": "Pl4nted-of-the-hosts", "level": "{{ 2 + 2 }}"}
    monkeypatch.setenv("AIRFLOW_VAR_WORKERS", json.dumps({machine.name: body}))
    files: set[str] = set()
    result: dict[str, object] = {}
    given = {"hosts": "${variable.workers}", "variables": {}}
    task = threading.Thread(target=lambda: result.update(lab.apply(**given)))
    task.start()
    while task.is_alive():
        files |= _private_files()
        time.sleep(0.05)
    assert result["state"] == "deployed"
    assert lab.config(machine).read_text().count("level={{ 2 + 2 }}\ntoken=Pl4nted-of-the-hosts\n") == 1
    assert any(machine.name in text for text in files), "the inventory was there"
    said = "".join(capsys.readouterr())
    assert "TASK settings" in said
    for text in (*files, said, json.dumps([result, lab.xcom])):
        assert "Pl4nted" not in text


def _private_files() -> set[str]:
    """What tasks have in their private folders."""
    found = set()
    for folder in Path(tempfile.gettempdir()).glob("triplane-task-*"):
        with contextlib.suppress(OSError):  # it may go at any moment
            found |= {path.read_text(errors="replace") for path in folder.iterdir() if path.is_file()}
    return found


@pytest.mark.campaign
def test_vaults_of_the_source_and_an_inventory_without_machines(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("open sesame")
    monkeypatch.setenv("AIRFLOW_VAR_VAULT", "open sesame")
    lab.machines = lab.machines[:1]
    lab.write("vault.yml", "inner: from-the-vault\n")
    encrypt = [find("ansible-vault"), "encrypt", "--vault-password-file", str(tmp_path / "password")]
    subprocess.run([*encrypt, str(lab.folder / "vault.yml")], check=True, capture_output=True)
    task = {
        "ansible.builtin.lineinfile": {
            "path": "{{ machine_home }}/inner",
            "line": "{{ inner }}",
            "create": True,
        }
    }
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": ["vault.yml"],
        "tasks": [task | {"no_log": True}],
    }
    lab.write("site.yml", json.dumps([play]))
    lab.apply(vault_password="${variable.vault}")
    assert (lab.machines[0].home / "inner").read_text() == "from-the-vault\n"
    lab.write("site.yml", "- hosts: nobody\n  gather_facts: false\n  tasks: []\n")
    with pytest.raises(AirflowFailException, match=r"no play of site.yml is for any of the machines"):
        lab.plan()
    lab.write("empty.yml", "all: {}")
    empty = lab.plan(hosts=None, inventory=["empty.yml"])
    assert empty["summary"] == "run site.yml on all its hosts, known after a stack is applied"
    with pytest.raises(AirflowFailException, match="there is no machine in the inventory"):
        lab.apply(hosts=None, inventory=["empty.yml"], change=empty)


def test_the_example_is_applied_and_undone(lab: Lab, sandbox: Sandbox) -> None:
    (machine,) = machines(sandbox, "gcp")
    settings.put_outputs("staging/aws", "cluster", {"bucket": "events"})
    example = {
        "source": settings.artifact_store().put(freeze(EXAMPLE, "HEAD").archive),
        "playbook": "ansible/worker.yml",
        "destroy_playbook": "ansible/worker-gone.yml",
        "hosts": "${variable.streaming_machines_gcp}",
        "variables": {"environment_name": "s", "bucket": "${cluster.bucket}", "token": "${variable.token}"},
        "serial": [1, "100%"],
    }
    assert lab.plan(**example, intent="destroy")["summary"] == "the playbook never ran"
    unknown = {**example, "variables": {**example["variables"], "bucket": "${network.bucket}"}}
    later = lab.plan(**unknown)
    assert later["summary"] == "run worker.yml on all its hosts, known after a stack is applied"
    settings.put_outputs("staging/aws", "network", {"bucket": "events"})
    assert lab.apply(**unknown, change=later)["state"] == "deployed"
    assert (machine.home / "etc/streaming/worker.conf").read_text() == (
        f"environment=s\nbucket=events\nworker={machine.name}\n"
    )
    gone = lab.plan(**unknown, intent="destroy")
    assert (gone["action"], gone["risk"]) == ("destroy", "critical")
    assert lab.destroy(**unknown, change=gone)["state"] == "destroyed"
    assert not (machine.home / "etc/streaming").exists()
    nothing = {**unknown, "destroy_playbook": None}
    never = lab.plan(**nothing, intent="destroy")
    assert (never["action"], never["summary"]) == ("none", "the playbook never ran")
    assert lab.destroy(**nothing, change=never)["state"] == "unchanged"


def _answers(machine: Machine) -> bool:
    from triplane.sandbox.runtime import listens

    return listens(machine.port)


SLOW = """
- hosts: all
  gather_facts: false
  tasks:
    - name: begin
      ansible.builtin.copy: {dest: "{{ machine_home }}/begun", content: x}
    - name: wait
      ansible.builtin.shell: while [ ! -e {{ machine_home }}/go ]; do sleep 0.1; done
      changed_when: false
    - name: end
      ansible.builtin.copy: {dest: "{{ machine_home }}/ended", content: x}
"""


def test_killed_cancelled_and_too_slow(lab: Lab) -> None:
    lab.write("site.yml", SLOW)
    lab.machines = lab.machines[:1]
    (machine,) = lab.machines
    task = subprocess.Popen([sys.executable, "-c", context_of(lab)], stdin=subprocess.PIPE)
    assert task.stdin is not None
    task.stdin.write(json.dumps(lab.kwargs()).encode())
    task.stdin.close()
    until(lambda: (machine.home / "begun").exists(), 60)
    task.kill()
    task.wait()
    until(lambda: not processes("ansible-playbook", "site.yml"), 30)
    assert not (machine.home / "ended").exists()

    with pytest.raises(AirflowException, match=r"ansible-playbook was stopped after its limit of 2 s"):
        lab.apply(timeout=2)
    assert not processes("ansible-playbook", "site.yml")
    assert not processes("ssh-agent", "triplane-task")

    (machine.home / "go").touch()
    assert lab.apply()["state"] == "deployed"
    assert (machine.home / "ended").exists()
