"""What ``ansible-playbook`` says while it runs, as ``callback/triplane_events.py`` writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from triplane.core.redact import MASK

HIDDEN = "(hidden by no_log)"
DIFF_LINES = 60
COUNTS = ("ok", "changed", "failed", "unreachable", "skipped", "rescued", "ignored")
_ANSIBLES = {"ok": "ok", "changed": "changed", "failed": "failures", "unreachable": "unreachable",
             "skipped": "skipped", "rescued": "rescued", "ignored": "ignored"}  # fmt: skip
Redact = Callable[[str], str]
_LOCAL = re.compile(r"(?<=after: )/\S*/ansible-local-\S+/")
"""Where Ansible rendered a template: another folder each time."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What a task did on a host, or would do in check mode. ``message`` and ``diff`` are redacted.

    ``state`` is ``ok``, ``changed``, ``failed``, ``unreachable`` or ``skipped``. ``foreseen`` is false where check mode
    cannot tell. ``where`` is the file and line of the task.
    """

    host: str
    task: str
    action: str
    where: str
    state: str
    ignored: bool = False
    foreseen: bool = True
    deletes: bool = False
    hidden: bool = False
    message: str = ""
    diff: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostSummary:
    """How many tasks ended how on one host, as Ansible counts them."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0

    @property
    def good(self) -> bool:
        """Whether the playbook came to its end on this host."""
        return not self.failed and not self.unreachable

    @property
    def state(self) -> str:
        """In one word."""
        if self.good:
            return "changed" if self.changed else "ok"
        return "unreachable" if self.unreachable else "failed"


@dataclass
class Recap:
    """What one or several runs came to. ``complete``: each of them has come to its end, however it ended.

    ``targets`` are the hosts that the plays were for; those that are in no summary were not begun.
    """

    hosts: dict[str, HostSummary] = field(default_factory=dict)
    targets: set[str] = field(default_factory=set)
    results: list[TaskResult] = field(default_factory=list)
    complete: bool = False

    def hosts_in(self, *states: str) -> list[str]:
        """The hosts of these states, by name."""
        return sorted(name for name, host in self.hosts.items() if host.state in states)

    @property
    def good(self) -> list[str]:
        """The hosts on which all is done."""
        return self.hosts_in("ok", "changed")

    def problem(self, host: str) -> str:
        """What went wrong on a host, in one line."""
        found = [
            result
            for result in self.results
            if result.host == host and result.state in ("failed", "unreachable") and not result.ignored
        ]
        if not found:
            return "not reached"
        line = " ".join(found[-1].message.split()) or "it said nothing"
        return line if found[-1].state == "unreachable" else f"{found[-1].task}: {line}"


class Events:
    """Reads the lines of a run, tells people what happens, and remembers what it came to."""

    def __init__(self, redact: Callable[[], Redact]) -> None:
        self._redact = redact
        self.recap = Recap()
        self.version = ""

    def read(self, line: str) -> Iterator[str]:
        """The lines for people that a line of the tool stands for."""
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or "event" not in event:
            yield from [self._redact()(line)] if line.strip() else []
            return
        for text in self._read(event["event"], event):
            yield self._redact()(text)

    def _read(self, kind: str, event: Mapping[str, Any]) -> Iterator[str]:
        match kind:
            case "start":
                self.version = event["version"]
            case "play":
                self.recap.targets |= set(event["hosts"])
                batch = [host for host in event["batch"] if host in event["hosts"]]
                yield f"PLAY {event['name']}: {_some(batch) or 'no host'}"
            case "task":
                yield f"TASK {event['name']}"
            case "retry":
                yield f"  not yet: {event['host']}, {event['left']} tries left"
            case "result":
                yield from self._result(event)
            case "stats":
                for host, counts in event["hosts"].items():
                    self.recap.hosts[host] = HostSummary(*(counts.get(_ANSIBLES[name], 0) for name in COUNTS))
                self.recap.complete = True
                yield from recap_lines(self.recap.hosts)

    def _result(self, event: Mapping[str, Any]) -> Iterator[str]:
        redact = self._redact()
        names = ("host", "task", "action", "where", "state", "ignored", "foreseen", "deletes", "hidden")
        diff = [line for text in event["diffs"] for line in shown_diff(text, redact)]
        result = TaskResult(
            **{name: event[name] for name in names},
            message=redact(event["message"]),
            diff=(HIDDEN,) if event["hidden"] and event["state"] == "changed" else tuple(diff),
        )
        self.recap.results.append(result)
        more = " (ignored)" if result.ignored else "" if result.foreseen else " (check mode cannot tell)"
        said = f": {result.message}" if result.message else ""
        yield f"  {result.state}: {result.host}{more}{said}"
        yield from (f"      {line}" for line in result.diff)


def recap_lines(hosts: Mapping[str, HostSummary]) -> Iterator[str]:
    """One line for each host."""
    for name in sorted(hosts):
        counts = ", ".join(f"{count} {key}" for key, count in vars(hosts[name]).items() if count)
        yield f"{name}: {counts or 'nothing to do'}"


def shown_diff(text: str, redact: Redact) -> list[str]:
    """A diff for people. Where a secret is on one side of a change, the other side is hidden as well: it is an older
    or a newer one, which nobody here knows.
    """
    found: list[str] = []
    for block in _blocks([_LOCAL.sub("", line) for line in text.splitlines()]):
        clean = [redact(line) for line in block]
        touched = {new[0] for old, new in zip(block, clean, strict=True) if old != new and _is_change(old)}
        found += [f"{line[0]}{MASK}" if _is_change(line) and touched - {line[0]} else line for line in clean]
    return (
        found
        if len(found) <= DIFF_LINES
        else [*found[:DIFF_LINES], f"... {len(found) - DIFF_LINES} lines more"]
    )


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Lines that were changed together, and the others one by one."""
    block: list[str] = []
    for line in lines:
        if _is_change(line):
            block.append(line)
            continue
        if block:
            yield block
        block = []
        yield [line]
    if block:
        yield block


def _is_change(line: str) -> bool:
    return line[:1] in ("+", "-") and not line.startswith(("+++ ", "--- "))


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
