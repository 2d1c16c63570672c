"""Say what a playbook would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from triplane import sealing
from triplane.core.errors import InputError
from triplane.machines.operators.base import AnsibleOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange
    from triplane.machines.events import Recap


class AnsiblePlanOperator(AnsibleOperator):
    """Say what a playbook would change, host by host and task by task, in Ansible's check mode; change nothing.

    Returns a ``ComponentChange`` as JSON. Its lines are the tasks that would change something, with their diffs, redacted,
    and those that check mode cannot tell anything of.

    Where a stack that says which machines there are, or what is done to them, has pending changes, the approval covers
    the playbook on the machines as they are after that: what is shown is of now.

    :param intent: ``destroy`` plans to run ``destroy_playbook``, all else to run ``playbook`` (templated)
    :param after: results of the plans of these stacks: name -> change (templated)
    """

    template_fields: Sequence[str] = (*AnsibleOperator.template_fields, "intent", "after")

    def __init__(
        self, *, intent: str = "deploy", after: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.intent = intent
        self.after = after or {}

    def work(self, context: Context) -> dict[str, Any]:
        """Look, and tell."""
        change = self._to_destroy() if self.intent == "destroy" else self._to_apply()
        self.log.info("%s: %s (risk %s), %s", self.address, change.action, change.risk, change.summary)
        for line in change.lines:
            self.log.info("  %s", line)
        return sealing.seal(context, change)

    def _to_apply(self) -> ComponentChange:
        from triplane.machines.ansible import HostsError
        from triplane.machines.events import Recap
        from triplane.machines.plan import plan, plan_after
        from triplane.machines.setup import NoMachines

        last = self.kept()
        before = None if last is None else last.done
        pending = sealing.pending(self.after)
        later = plan(self.written(self.playbook, None), Recap(), before=before)
        if not self.hosts_are_known():
            return later
        try:
            with self.opened(self.playbook) as (ansible, hosts):
                seen = looked(self, ansible, self.playbook)
        except NoMachines as error:
            self.log.info("%s Perhaps a stack of this deployment makes them", error)
            return later
        except HostsError as error:
            if not pending:
                raise
            self.log.warning("%s Perhaps a stack of this deployment replaces them", error)
            return later
        if pending:
            return plan_after(self.written(self.playbook, None), hosts, seen, pending, before=before)
        written = self.written(self.playbook, hosts)
        change = plan(written, seen, before=before)
        if last is not None and not change.changed and last.settings != written.settings:
            self.keep(replace(last, same=written.settings))
        return change

    def _to_destroy(self) -> ComponentChange:
        from triplane.machines.plan import plan_to_destroy, plan_to_forget
        from triplane.machines.setup import NoMachines

        if self.kept() is None:
            return plan_to_forget(self.address, "the playbook never ran", known=False)
        if not self.destroy_playbook:
            return plan_to_forget(
                self.address, "no destroy_playbook: what was configured goes with the machines", known=True
            )
        if not self.hosts_are_known():
            return plan_to_forget(self.address, "its machines are not there any more", known=True)
        try:
            with self.opened(self.destroy_playbook) as (ansible, hosts):
                seen = looked(self, ansible, self.destroy_playbook, lenient=True)
        except NoMachines:
            return plan_to_forget(self.address, "its machines are not there any more", known=True)
        return plan_to_destroy(self.written(self.destroy_playbook, hosts), seen)


def looked(
    operator: AnsibleOperator,
    ansible: Any,
    playbook: str,
    *,
    limit: Sequence[str] | None = None,
    lenient: bool = False,
) -> Recap:
    """What a run in check mode shows. Unless ``lenient``, every host must answer.

    :raises HostsError: one does not
    :raises RefusedError: one has another key than the known one
    """
    from triplane.machines.ansible import HostsError, Play
    from triplane.machines.ssh import is_refused

    file = operator.playbook_file(playbook).name
    seen: Recap = ansible.run(Play(playbook=file, check=True, limit=None if limit is None else tuple(limit)))
    away = seen.hosts_in("unreachable")
    if lenient or not away:
        return seen
    said = "; ".join(f"{host}: {seen.problem(host)}" for host in away[:10])
    if refused := [host for host in away if is_refused(seen.problem(host))]:
        raise InputError(
            f"{', '.join(refused)} did not show the host key that is known ({said}): if the machine was made anew, take "
            "its new key into `host_key` or `known_hosts`; if not, somebody else answers there"
        )
    raise HostsError(
        f"{len(away)} of {len(seen.targets)} hosts are unreachable, so what would change there is not known ({said}); "
        "bring them back, or take them out of the inventory"
    )
