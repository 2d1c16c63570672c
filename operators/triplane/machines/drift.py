"""What a run in check mode says of machines that nobody should have changed."""

from __future__ import annotations

from collections.abc import Sequence

from triplane.core.drift import Finding, finding
from triplane.machines.ansible import HostsError
from triplane.machines.events import Recap, TaskResult
from triplane.machines.plan import fingerprint, stopped

LONGEST = 200


def findings(seen: Recap) -> list[Finding]:
    """One for each task that would change a host, by ``<host>: <task>``.

    :raises HostsError: some hosts could not be looked at, and nothing was found on the others
    """
    found = [
        finding(f"{result.host}: {result.task}", "update", _attributes(result), fingerprint(result))
        for result in seen.results
        if result.state == "changed"
    ]
    blind = {result.host for result in stopped(seen)} | set(seen.hosts_in("unreachable"))
    if not blind:
        return found
    said = "; ".join(f"{host}: {seen.problem(host)}" for host in sorted(blind)[:10])
    if not found:
        raise HostsError(f"{len(blind)} of {len(seen.hosts)} hosts could not be looked at ({said})")
    return [*found, *(finding(host, f"not looked at: {seen.problem(host)}") for host in sorted(blind))]


def _attributes(result: TaskResult) -> list[dict[str, str]]:
    before = _side(result.diff, "-")
    after = _side(result.diff, "+")
    module = result.action.rsplit(".", 1)[-1]
    return [{"name": module, "before": before, "after": after or " ".join(result.diff)[:LONGEST]}]


def _side(diff: Sequence[str], sign: str) -> str:
    lines = [line[1:].strip() for line in diff if line.startswith(sign) and not line.startswith(sign * 3)]
    text = " ".join(lines)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
