"""Look for drift on a cloud's machines: the playbooks that ran there, in check mode, in one task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from triplane.checking import CheckingOperator, Component, Seen
from triplane.machines.operators.base import AnsibleOperator

if TYPE_CHECKING:
    from contextlib import ExitStack

    from triplane.machines.kept import Kept
    from triplane.machines.setup import Setup


class _Machines(Component):
    operator: AnsibleOperator
    kept: Kept | None = None
    setup: Setup | None = None
    pending = ""

    def deployed_by(self, task_id: str, arguments: dict[str, Any]) -> AnsibleOperator:
        self.written = arguments
        return AnsibleOperator(task_id=task_id, **arguments)

    def look_up(self, stack: ExitStack) -> None:
        """What is compared is what ran last, as it was then: its source, its variables, its secrets as they are now."""
        now = self.operator.written(self.operator.playbook, ()).settings
        self.kept = self.operator.kept()
        if self.kept is None:
            self.pending = "it never ran"
            return
        if now not in (self.kept.settings, self.kept.same):
            self.pending = "the playbook or its settings have changed"
        if self.kept.left:
            self.pending = f"it has not come to its end on {', '.join(self.kept.left[:10])}"
        for name, value in self.kept.arguments.items():
            setattr(self.operator, name, value)
        self.setup = self.operator.setup(self.operator.playbook)

    def look(self) -> Seen:
        from triplane import settings
        from triplane.machines.ansible import Play
        from triplane.machines.drift import findings
        from triplane.machines.setup import opened

        if self.setup is None:
            return Seen(pending=self.pending)
        with (
            self.operator.let_in(self.setup) as setup,
            opened(setup, say=lambda line: None, redactor=settings.redactor) as (ansible, _),
        ):
            file = self.operator.playbook_file(self.operator.playbook).name
            seen = ansible.run(Play(playbook=file, check=True))
        return Seen(findings(seen), self.pending)


class AnsibleDriftBatchOperator(CheckingOperator):
    """Compare machines with what their playbooks made of them, see :class:`triplane.checking.CheckingOperator`.

    A finding is a task that would change something on a host. ``pending`` is a playbook that is not the one that ran last.

    :param components: for each the arguments of an :class:`AnsibleOperator`; ``ignore`` as for stacks, with
        ``<host>: <task>`` for the resource (templated)
    """

    ui_color = "#f8e4e4"
    component = _Machines

    def on_kill(self) -> None:
        """Stop Ansible, and begin nothing more."""
        from triplane.core.process import stop_all

        super().on_kill()
        stop_all()
