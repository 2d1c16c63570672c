"""Run a playbook that was approved, and undo it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from triplane.applying import Applying
from triplane.core.errors import TriplaneError
from triplane.machines.operators.base import AnsibleOperator
from triplane.machines.operators.plan import looked

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.change import ComponentChange, State
    from triplane.core.jobs import Job
    from triplane.machines.ansible import Ansible
    from triplane.machines.hosts import Host
    from triplane.machines.kept import Kept
    from triplane.machines.rolling import Roll


class AnsibleApplyOperator(Applying, AnsibleOperator):
    """Run a playbook on its machines, batch by batch. Returns a ``Result`` as JSON; the XCom ``hosts`` says what each host
    has come to.

    With an approved change it looks first, in check mode, whether what would change is still what people saw. A retry goes
    on with the hosts that failed, were unreachable or were not begun. Takes ``change``, ``change_set`` and
    ``authorization``, see :class:`triplane.applying.Applying`; without them it runs what it is given.

    :param only_left: go on with what the last run of the same playbook left, whichever run that was (templated)
    """

    template_fields: Sequence[str] = (
        *AnsibleOperator.template_fields, *Applying.approval_fields, "only_left",
    )  # fmt: skip

    def __init__(self, *, only_left: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.only_left = only_left

    def work(self, context: Context) -> dict[str, Any]:
        """Check, look again, run."""
        from triplane.machines.plan import check

        began = time.time()
        approved = self.approved(context)
        if approved and not approved.changed:
            self._check_unchanged(context, approved)
            return self.result("unchanged", str(approved.binds["settings"]), {}, began)
        with self.opened(self.playbook) as (ansible, hosts):
            written = self.written(self.playbook, hosts)
            if approved:
                check(approved, written)
            kept = self._begun(context, written.settings, hosts, once=approved is not None)
            roll = self._roll(context, ansible, hosts)
            kept = roll.take_over(kept)
            if approved:
                self._look_again(ansible, approved, kept, hosts)
            kept = self._go(context, roll, kept, began)
        changed = _acts(approved) or any(host.changed for host in kept.hosts.values())
        return self._done(context, kept, "deployed" if changed else "unchanged", began, len(hosts))

    def result(self, state: State, version: str, details: Any, began: float) -> dict[str, Any]:
        """What the task returns."""
        from triplane.core.change import Result

        seconds = time.time() - began
        return Result(
            address=self.address, version=version, state=state, seconds=seconds, details=details
        ).to_json()

    def job(self, context: Context) -> Job:
        """Where a retry finds the Ansible that a killed try left at work."""
        from triplane.core import jobs

        run = context["dag_run"]
        return jobs.job(["ansible", run.dag_id, run.run_id, self.address, self.playbook])

    def _check_unchanged(self, context: Context, approved: ComponentChange) -> None:
        """What was planned to do nothing must be of this playbook; which machines there are does not matter. It is
        remembered as if it had run: drift checks compare with it.
        """
        from dataclasses import replace

        from triplane.machines.plan import LATER, check

        written = self.written(self.playbook, ())
        check(replace(approved, binds={**approved.binds, "hosts": LATER}), written)
        if self.kept() is None:
            self.keep(self._begun(context, written.settings, (), once=True))

    def _begun(self, context: Context, settings: str, hosts: Sequence[Host], *, once: bool) -> Kept:
        from triplane.machines.kept import begin

        run = context["dag_run"]
        return begin(
            self.kept(),
            settings=settings,
            run=f"{run.dag_id}/{run.run_id}",
            arguments={name: getattr(self, name) for name in self.kept_arguments},
            hosts=[host.name for host in hosts],
            only_left=str(self.only_left) == "True",
            once=once,
        )

    def _roll(self, context: Context, ansible: Ansible, hosts: Sequence[Host]) -> Roll:
        from triplane.machines.rolling import Gate, Roll

        return Roll(
            ansible=ansible,
            playbook=self.playbook_file(self.playbook).name,
            hosts=hosts,
            serial=self.serial,
            gate=Gate(**self.gate) if self.gate else None,
            job=self.job(context),
            save=self.keep,
            say=self.say,
        )

    def _look_again(
        self, ansible: Ansible, approved: ComponentChange, kept: Kept, hosts: Sequence[Host]
    ) -> None:
        """:raises StaleError: a machine was changed since the plan"""
        from triplane.machines.plan import LATER, check_changes

        if approved.binds.get("hosts") == LATER or not kept.left:
            return
        self.say("looking again at what would change")
        limit = None if len(kept.left) == len(hosts) else kept.left
        check_changes(approved, looked(self, ansible, self.playbook, limit=limit, lenient=True))

    def _go(self, context: Context, roll: Roll, kept: Kept, began: float) -> Kept:
        """Run it; where that fails, the result says of each host how far it came."""
        try:
            return roll.go(kept)
        except TriplaneError:
            self._done(context, self.kept() or kept, "failed", began, len(roll.hosts))
            raise

    def _done(self, context: Context, kept: Kept, state: State, began: float, hosts: int) -> dict[str, Any]:
        from triplane.machines.rolling import summary, totals

        value = self.result(state, kept.settings, totals(kept, hosts), began)
        context["ti"].xcom_push(key="hosts", value=summary(kept))
        if state == "failed":
            context["ti"].xcom_push(key="return_value", value=value)
        return value


def _acts(approved: ComponentChange | None) -> bool:
    """Whether a change was seen when it was planned. What runs after a stack may find that all is done already."""
    from triplane.machines.plan import LATER

    return approved is not None and (approved.action == "create" or approved.binds.get("hosts") != LATER)


class AnsibleDestroyOperator(AnsibleApplyOperator):
    """Run ``destroy_playbook``, if there is one, on the machines that can be reached; then forget the component.

    Takes the same arguments as the :class:`AnsiblePlanOperator` with ``intent="destroy"`` that made the change.
    """

    def work(self, context: Context) -> dict[str, Any]:
        """Check, run, forget."""
        from triplane.machines.ansible import Play
        from triplane.machines.plan import FORGETS, check

        began = time.time()
        approved = self.approved(context)
        if approved and not approved.changed:
            return self.result("unchanged", "", {}, began)
        if not self.destroy_playbook or (approved and FORGETS in approved.binds):
            self.keep(None)
            return self.result("destroyed", "", {}, began)
        with self.opened(self.destroy_playbook) as (ansible, hosts):
            if approved:
                check(approved, self.written(self.destroy_playbook, hosts))
            job = self.job(context)
            ansible.left_over(job)
            recap = ansible.run(Play(playbook=self.playbook_file(self.destroy_playbook).name), job)
            job.forget()
        if failed := recap.hosts_in("failed"):
            from triplane.machines.ansible import HostsError

            said = "; ".join(f"{host}: {recap.problem(host)}" for host in failed[:10])
            raise HostsError(f"{len(failed)} of {len(hosts)} hosts failed ({said})")
        for host in recap.hosts_in("unreachable"):
            self.log.warning("%s is unreachable: nothing was undone on it: %s", host, recap.problem(host))
        self.keep(None)
        return self.result("destroyed", "", {"hosts": str(len(recap.hosts))}, began)
