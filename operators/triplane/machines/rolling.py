"""Run a playbook on machines, batch by batch, and remember how far that came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from triplane.core.errors import RefusedError
from triplane.core.jobs import Job
from triplane.gates.http import Source
from triplane.machines.ansible import Ansible, HostsError, Play
from triplane.machines.events import Recap
from triplane.machines.hosts import Host, batches
from triplane.machines.kept import Kept
from triplane.machines.ssh import is_refused

SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What must answer after a batch before the next one begins. In ``url``, ``{address}`` and ``{host}`` stand for each
    machine of the batch. ``within`` and ``every`` are seconds: how long to wait for good answers, and between two looks.
    """

    url: str
    status: int = 200
    contains: str = ""
    within: float = 60.0
    every: float = 2.0

    def urls(self, hosts: Sequence[Host]) -> list[str]:
        """What to look at after a batch of these."""
        each = [self.url.replace("{address}", host.address).replace("{host}", host.name) for host in hosts]
        return list(dict.fromkeys(each))

    def wait(self, hosts: Sequence[Host]) -> str:
        """Why the next batch must not begin, empty if it may."""
        deadline = time.monotonic() + self.within
        left = self.urls(hosts)
        while True:
            query = {"status": self.status, "contains": self.contains}
            looks = {url: Source({"url": url, **query}).read(time.time()) for url in left}
            left = [url for url, sample in looks.items() if not sample.good]
            if not left:
                return ""
            if time.monotonic() + self.every > deadline:
                return "; ".join(looks[url].text for url in left[:SHOWN])
            time.sleep(self.every)


@dataclass(frozen=True, kw_only=True)
class Roll:
    """One rollout of a playbook. ``save`` is told of every step, so that another try goes on from there."""

    ansible: Ansible
    playbook: str
    hosts: Sequence[Host]
    serial: Sequence[int | str] = ()
    gate: Gate | None = None
    job: Job | None = None
    save: Callable[[Kept], object] = field(default=lambda kept: None)
    say: Callable[[str], None] = print

    def go(self, kept: Kept) -> Kept:
        """Run it on all that is left.

        :raises HostsError: it has not come to its end on some; a retry goes on with those
        :raises RefusedError: a machine has shown another key than the known one
        :raises ToolError: Ansible ended early
        """
        self.save(kept)
        todo = batches(kept.left, self.serial)
        for number, names in enumerate(todo, 1):
            if len(todo) > 1:
                self.say(f"batch {number} of {len(todo)}: {', '.join(names)}")
            whole = len(names) == len(self.hosts)
            play = Play(playbook=self.playbook, limit=None if whole else tuple(names))
            recap = self.ansible.run(play, self.job)
            kept = kept.after(recap, names)
            self.save(kept)
            if self.job is not None:
                self.job.forget()
            check_hosts(recap, kept, len(self.hosts))
            if number < len(todo):
                self._pass(names, kept)
        return kept

    def take_over(self, kept: Kept) -> Kept:
        """Wait for the Ansible that a killed try left at work, and take what it has done since as done."""
        recap = self.ansible.left_over(self.job) if self.job is not None else None
        return kept if recap is None else kept.after(recap, sorted(recap.targets))

    def _pass(self, names: Sequence[str], kept: Kept) -> None:
        if self.gate is None:
            return
        why = self.gate.wait([host for host in self.hosts if host.name in names])
        if why:
            raise HostsError(
                f"the gate after {', '.join(names)} did not open within {self.gate.within:g} s: {why}. The other "
                f"{len(kept.left)} hosts were not begun; the next try goes on with them"
            )
        self.say("the gate is open")


def check_hosts(recap: Recap, kept: Kept, count: int) -> None:
    """:raises HostsError, RefusedError: the run has not come to a good end on every host"""
    failed, unreachable = recap.hosts_in("failed"), recap.hosts_in("unreachable")
    if not failed and not unreachable:
        return
    refused = [host for host in unreachable if is_refused(recap.problem(host))]
    begun = {*failed, *unreachable}
    waiting = [host for host in kept.left if host not in begun]
    parts = [
        f"{len(names)} {what} ({'; '.join(_problems(recap, names))})"
        for what, names in (("failed", failed), ("unreachable", unreachable))
        if names
    ]
    parts += [f"{len(waiting)} not begun"] if waiting else []
    said = f"of {count} hosts {', '.join(parts)}, {count - len(kept.left)} are done"
    if refused:
        raise RefusedError(
            f"{said}. {', '.join(refused)} did not show the host key that is known: if the machine was made anew, take "
            "its new key into `host_key` or `known_hosts`; if not, somebody else answers there"
        )
    raise HostsError(f"{said}. The next try goes on with the {len(kept.left)} that are left")


def summary(kept: Kept) -> dict[str, dict[str, Any]]:
    """Host -> what it has come to, for XCom."""
    return {name: {"state": host.state, **vars(host)} for name, host in sorted(kept.hosts.items())}


def totals(kept: Kept, hosts: int) -> Mapping[str, str]:
    """How many hosts ended how, for the result."""
    states = [host.state for host in kept.hosts.values()]
    found = {
        "hosts": hosts,
        **{state: states.count(state) for state in ("ok", "changed", "failed", "unreachable")},
    }
    return {name: str(count) for name, count in found.items()}


def _problems(recap: Recap, names: Sequence[str]) -> Iterator[str]:
    yield from (f"{name}: {recap.problem(name)}" for name in names[:SHOWN])
    if len(names) > SHOWN:
        yield f"and {len(names) - SHOWN} more"
