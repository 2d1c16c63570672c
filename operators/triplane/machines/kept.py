"""What is remembered of a component of machines from one run to the next."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from triplane.machines.events import HostSummary, Recap


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The last run that began to change machines.

    ``settings`` is what it was for, see :class:`triplane.machines.plan.Written`, ``arguments`` those of the operator, with
    references as they were written. ``left`` are the hosts on which the playbook has not come to its end, ``hosts`` what
    each has come to. ``before`` is what the last run was for that came to its end everywhere, ``same`` what a later plan was
    for that found nothing to do.
    """

    settings: str
    run: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    hosts: Mapping[str, HostSummary] = field(default_factory=dict)
    before: str | None = None
    same: str | None = None

    @property
    def done(self) -> str | None:
        """What has last been done on every machine."""
        return self.before if self.left else self.settings

    def after(self, recap: Recap, hosts: Iterable[str]) -> Kept:
        """What is left when ``recap`` is what a run on ``hosts`` came to.

        A host of the inventory that no play is for is done as well, if the run came to its end.
        """
        good = {
            host
            for host in hosts
            if recap.complete and (host in recap.good or host not in recap.targets | recap.hosts.keys())
        }
        left = tuple(host for host in self.left if host not in good)
        found = {name: _with(self.hosts.get(name), summary) for name, summary in recap.hosts.items()}
        return replace(self, left=left, hosts={**self.hosts, **found})

    def to_json(self) -> bytes:
        """For the artifact store."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes | None) -> Kept | None:
        """The inverse of :meth:`to_json`; None for nothing."""
        value = None if data is None else json.loads(data)
        if not value:
            return None
        hosts = {name: HostSummary(**counts) for name, counts in value["hosts"].items()}
        return cls(**{**value, "left": tuple(value["left"]), "hosts": hosts})


def _with(earlier: HostSummary | None, summary: HostSummary) -> HostSummary:
    """What earlier tries have changed is changed."""
    return summary if earlier is None else replace(summary, changed=earlier.changed + summary.changed)


def begin(
    last: Kept | None,
    *,
    settings: str,
    run: str,
    arguments: Mapping[str, Any],
    hosts: Sequence[str],
    only_left: bool = False,
    once: bool = False,
) -> Kept:
    """What is to be done: on ``hosts``, or on what the last run left of them.

    Another try of the same ``run`` goes on with what is left, and so does one that is asked to (``only_left``), as long as
    the very same is to be done. Where nothing is left all is done again, unless it may be done only ``once``.
    """
    same = last is not None and last.settings == settings and (only_left or last.run == run)
    known = last if last is not None and same and (last.left or once) else None
    left = tuple(host for host in hosts if known is None or host in known.left or host not in known.hosts)
    return Kept(
        settings=settings,
        run=run,
        arguments=dict(arguments),
        left=left,
        hosts={}
        if known is None
        else {name: counts for name, counts in known.hosts.items() if name in hosts},
        before=None if last is None else last.done,
    )
