"""What a reviewer reads: Markdown of the change sets that an approval would cover.

It stays readable, and fits into Airflow's database, whatever the size of the change sets: what is denied, destroys
or replaces something comes first, and what is not shown is counted. The tasks that ask log every line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from triplane.core.approval import Policy, votes_needed
from triplane.core.calendar import Calendar
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.digest import digest
from triplane.core.words import cloud, plain, urgent_first

LINES = 150
"""So many lines of changes are shown, over all components of all clouds; three quarters of them may be urgent."""
EACH = 30
"""So many lines that are not urgent are shown of one component."""
COMPONENTS = 50
"""So many components are shown; the riskiest of each cloud."""
NAMED = 20
WIDTH = 250
"""Characters of a line, and of a component's summary."""
URGENT = ("! ", "- ", "-/+ ")
T = TypeVar("T")


def review_digest(change_sets: Sequence[ChangeSet]) -> str:
    """One digest over all change sets that are reviewed together; the reviewer's form carries it."""
    return digest({change_set.cloud: change_set.digest for change_set in change_sets})


def subject(change_sets: Sequence[ChangeSet]) -> str:
    """One line: what is to be deployed where, and how risky it is."""
    first = change_sets[0]
    changed = sum(len(change_set.changed) for change_set in change_sets)
    clouds = ", ".join(cloud(change_set.cloud) for change_set in change_sets)
    where = f"{first.platform} {'to' if first.intent == 'deploy' else 'in'} {first.environment} ({clouds})"
    text = f"{where}: {changed} changes, risk {_risk(change_sets)}"
    named = {"deploy": text, "rollback": f"Roll back {text}", "destroy": f"Destroy {text}"}[first.intent]
    return f"EMERGENCY: {named}" if first.emergency else named


def summary(change_sets: Sequence[ChangeSet]) -> str:
    """A few lines: the rules, and what each cloud is about to do."""
    clouds = [f"- {cloud(item.cloud)}: {len(item.changed)} changes, risk {item.risk}" for item in change_sets]
    first = change_sets[0]
    emergency = [f"**EMERGENCY**: {_plain(first.emergency)}\n"] if first.emergency else []
    return "\n".join([*emergency, f"Revision `{first.revision}`. {_rules(change_sets)}", "", *clouds])


def every_line(change_sets: Sequence[ChangeSet]) -> Iterator[str]:
    """The change sets line by line, whole and uncut, for a log."""
    for change_set in change_sets:
        name = cloud(change_set.cloud)
        yield f"{name}: risk {change_set.risk}, {change_set.digest}"
        for change in urgent_first(change_set.changes):
            yield f"{change.address}: {change.action}, risk {change.risk}. {change.summary}"
            yield from (f"  {line}" for part in _by_urgency(change) for line in part)


def body(change_sets: Sequence[ChangeSet], requester: str, log: str = "") -> str:
    """The change sets cloud by cloud, with their digests; the same for the same arguments.

    :param log: link to where every line is
    """
    first = change_sets[0]
    intent = {
        "deploy": "Deploy",
        "rollback": "**Roll back** to",
        "destroy": "**Destroy** what is deployed of",
    }
    whole = f"[Every line of it]({log}) is in the log of this task." if log else ""
    head = f"{intent[first.intent]} revision `{first.revision}`, asked for by **{requester}**. {_rules(change_sets)} {whole}"
    head = head.rstrip()
    if first.emergency:
        head = f"**EMERGENCY**, at any time: {_plain(first.emergency)}\n\n{head}"
    listed = _first([urgent_first(change_set.changed) for change_set in change_sets], COMPONENTS)
    lines = _lines([change for changes in listed for change in changes])
    clouds = [
        _cloud(change_set, changes, lines) for change_set, changes in zip(change_sets, listed, strict=True)
    ]
    return "\n\n".join([head, *_tests(change_sets), *clouds]) + "\n"


def _rules(change_sets: Sequence[ChangeSet]) -> str:
    """What the policy says about this approval."""
    policy = Policy.from_json(change_sets[0].policy)
    needed = max(votes_needed(item) for item in change_sets)
    rules = [f"{needed} approval(s) needed; a decision holds for {policy.expires / 3600:g} h."]
    groups = {name: users for item in change_sets for name, users in policy.groups(item.risk).items()}
    rules += [
        f"Somebody of {name} ({', '.join(users)}) must be among them." for name, users in groups.items()
    ]
    calendar = Calendar.from_json(policy.calendar)
    if not change_sets[0].emergency:
        windows = "; ".join(map(str, calendar.windows))
        rules += [f"It is applied in the deployment windows: {windows}."] if windows else []
        rules += [f"Not while {freeze}." for freeze in calendar.freezes]
    if policy_of_release := change_sets[0].release.get("policy"):
        good = change_sets[0].release.get("quorum") or "all"
        rules += [
            f"**Release {policy_of_release}**: unless {good} of the clouds end well, those that were changed are rolled "
            "back to the last good version by themselves; what that would destroy beyond this release is asked about."
        ]
    return " ".join(rules)


def _tests(change_sets: Sequence[ChangeSet]) -> list[str]:
    """What the tests said, each once, where there are any."""
    said = {test["name"]: _plain(str(test["text"])) for item in change_sets for test in item.tests}
    lines = [f"- {name}: {text}" for name, text in list(said.items())[:NAMED]]
    more = [f"- ... and {len(said) - NAMED} more"] if len(said) > NAMED else []
    return ["\n".join(["Tests:", "", *lines, *more])] if said else []


def _risk(change_sets: Sequence[ChangeSet]) -> Risk:
    return max(change_set.risk for change_set in change_sets)


def _first(groups: Sequence[Sequence[T]], room: int, each: int | None = None) -> list[Sequence[T]]:
    """The first items of each group, ``room`` in all and ``each`` of one: small groups are whole."""
    level = 0
    while level != each and any(len(group) > level for group in groups):
        if sum(min(len(group), level + 1) for group in groups) > room:
            break
        level += 1
    return [group[:level] for group in groups]


def _lines(changes: Sequence[ComponentChange]) -> dict[str, str]:
    """Component -> the lines that are shown of it: neither urgent ones nor others crowd out the rest."""
    split = [_by_urgency(change) for change in changes]
    urgent = _first([first for first, _ in split], LINES * 3 // 4)
    others = _first([rest for _, rest in split], LINES - sum(map(len, urgent)), EACH)
    shown: dict[str, str] = {}
    for change, (first, rest), some, more in zip(changes, split, urgent, others, strict=True):
        hidden, worse = len(first) + len(rest) - len(some) - len(more), len(first) - len(some)
        counted = (
            [f"... and {hidden} more" + (f", {worse} of them urgent" if worse else "")] if hidden else []
        )
        shown[change.address] = "\n".join([*(_plain(line) for line in (*some, *more)), *counted])
    return shown


def _by_urgency(change: ComponentChange) -> tuple[list[str], list[str]]:
    lines = [*(f"! denied by policy: {text}" for text in change.denied), *change.lines]
    return [line for line in lines if line.startswith(URGENT)], [
        line for line in lines if not line.startswith(URGENT)
    ]


def _cloud(change_set: ChangeSet, listed: Sequence[ComponentChange], lines: Mapping[str, str]) -> str:
    title = f"## {cloud(change_set.cloud)}: risk {change_set.risk}\n\n`{change_set.digest}`"
    parts = [title, *(_component(change, lines[change.address]) for change in listed)]
    if rest := urgent_first(change_set.changed)[len(listed) :]:
        parts.append(f"Changed too, risk {max(change.risk for change in rest)} at most: {_names(rest)}")
    if unchanged := [each for each in change_set.changes if not each.changed and not each.left_behind]:
        parts.append(f"Unchanged: {_names(unchanged)}")
    if left := [each for each in change_set.changes if each.left_behind]:
        parts.append(f"Left behind, not in the spec any more: {_names(left)}")
    return "\n\n".join(parts)


def _names(changes: Sequence[ComponentChange]) -> str:
    more = [f"{len(changes) - NAMED} more"] if len(changes) > NAMED else []
    return ", ".join([*(change.address for change in changes[:NAMED]), *more])


def _component(change: ComponentChange, lines: str) -> str:
    listed = f"```text\n{lines}\n```" if lines else ""
    return f"**{change.address}**: {change.action}, risk {change.risk}. {_plain(change.summary)}\n{listed}".rstrip()


def _plain(line: str) -> str:
    return plain(line, WIDTH)
