"""Machines, a playbook for them, and the operators that run it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from triplane import settings
from triplane.machines.operators import AnsibleApplyOperator, AnsibleDestroyOperator, AnsiblePlanOperator
from triplane.sandbox.machines.machine import Machine
from triplane.source.freeze import freeze

SECRET = "correct-{{ 2 + 2 }}-horse"
PLAYBOOK = """
- name: configure
  hosts: all
  gather_facts: false
  tasks:
    - name: settings
      ansible.builtin.blockinfile:
        path: "{{ machine_home }}/app.conf"
        block: "level={{ level }}\\ntoken={{ token }}"
        create: true
        mode: "0600"
    - name: credentials
      ansible.builtin.lineinfile: {path: "{{ machine_home }}/token", line: "{{ token }}", create: true, mode: "0600"}
      no_log: true
    - name: not everywhere
      ansible.builtin.command: test ! -e {{ machine_home }}/broken
      changed_when: false
"""


class Lab:
    """A playbook on ``machines``, deployed as ``aws/machines/workers``."""

    def __init__(self, folder: Path, machines: list[Machine]) -> None:
        self.machines = machines
        self.folder = folder
        self.folder.mkdir()
        self.run = f"run-{time.time_ns() % 10**8}"
        self.xcom: dict[str, Any] = {}
        self.write("site.yml", PLAYBOOK)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def kwargs(self, **more: Any) -> dict[str, Any]:
        return {
            "task_id": "t",
            "source": settings.artifact_store().put(freeze(self.folder, "HEAD").archive),
            "playbook": "site.yml",
            "address": "aws/machines/workers",
            "scope": "staging/aws",
            "hosts": {machine.name: machine.host() for machine in self.machines},
            "key": "${variable.streaming_ssh_key}",
            "variables": {"level": "info", "token": "${variable.token}"},
            **more,
        }

    def context(self) -> Any:
        return {
            "ti": SimpleNamespace(xcom_push=lambda key, value: self.xcom.update({key: value})),
            "dag_run": SimpleNamespace(dag_id="deploy_aws", run_id=self.run),
        }

    def plan(self, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = AnsiblePlanOperator(**self.kwargs(**more)).execute(self.context())
        return found

    def apply(self, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = AnsibleApplyOperator(**self.kwargs(**more)).execute(self.context())
        return found

    def destroy(self, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = AnsibleDestroyOperator(**self.kwargs(**more)).execute(self.context())
        return found

    def states(self) -> dict[str, str]:
        """Host -> what the last apply said of it."""
        return {name: body["state"] for name, body in self.xcom["hosts"].items()}

    def config(self, machine: Machine) -> Path:
        """What the playbook writes."""
        return machine.home / "app.conf"


def context_of(lab: Lab) -> str:
    """A script that applies what it reads as JSON, in the run of ``lab``."""
    return "\n".join(
        [
            "import json, sys; from types import SimpleNamespace",
            "from triplane.machines.operators import AnsibleApplyOperator",
            f"run = SimpleNamespace(dag_id='deploy_aws', run_id={json.dumps(lab.run)})",
            "ti = SimpleNamespace(xcom_push=lambda key, value: None)",
            "AnsibleApplyOperator(**json.loads(sys.stdin.read())).execute({'dag_run': run, 'ti': ti})",
        ]
    )
