"""What proves how one run came about: everything that the ledger and the artifact store know of it, in one bundle."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from triplane.core.approval import Decision
from triplane.core.change import ChangeSet
from triplane.core.digest import canonical_json, digest
from triplane.core.errors import InputError
from triplane.core.history import AUTHORIZED, PLANNED, ROLLOUT
from triplane.core.keys import key_id, seal
from triplane.core.ledger import Entry, Ledger
from triplane.core.waiver import WAIVER, Waiver

WRITTEN = (1980, 1, 1, 0, 0, 0)
MANIFEST = "manifest.json"
KINDS = (PLANNED, AUTHORIZED, ROLLOUT)
"""The entries that are about a change set."""


def evidence(
    run_id: str,
    ledgers: Iterable[Ledger],
    change_set: Callable[[str], ChangeSet],
    keys: Sequence[str] = (),
) -> dict[str, bytes]:
    """The files of the bundle, by name.

    ``evidence.md`` is for people. ``change_sets/``, ``ledger/`` and ``heads.json`` hold what it says as it was
    recorded: plans and diffs redacted, as people saw them. ``manifest.json`` has the digest of every file, sealed with
    the newest of ``keys``. The same run gives the same bytes as long as nothing is added to the ledgers.

    :param run_id: of a parent or of a cloud's DAG; the runs that it started count too
    :param change_set: finds a change set by its digest
    :raises InputError: no ledger knows the run
    :raises RefusedError: a ledger or a change set was tampered with
    """
    found = {ledger.scope: (ledger, _of(run_id, ledger.entries())) for ledger in ledgers}
    found = {scope: (ledger, entries) for scope, (ledger, entries) in found.items() if entries}
    if not found:
        raise InputError(
            f"no ledger knows the run {run_id}: it never planned anything, or ran with another artifact store"
        )
    digests = sorted(
        {str(entry.body["digest"]) for _, own in found.values() for entry in own if entry.kind in KINDS}
    )
    change_sets = {name: change_set(name) for name in digests}
    files = {
        f"change_sets/{item.cloud}-{name.removeprefix('sha256:')[:12]}.json": canonical_json(item.to_json())
        for name, item in change_sets.items()
    }
    for scope, (_, entries) in found.items():
        files[f"ledger/{scope}.json"] = _pretty([vars(entry) | {"digest": entry.digest} for entry in entries])
    heads = {scope: vars(head) for scope, (ledger, _) in found.items() if (head := ledger.head())}
    files["heads.json"] = _pretty(heads)
    files["evidence.md"] = _story(run_id, {s: e for s, (_, e) in found.items()}, change_sets).encode()
    return files | {MANIFEST: _manifest(run_id, files, keys)}


def bundle(files: Mapping[str, bytes]) -> bytes:
    """The files as a ZIP archive; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, WRITTEN), files[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _of(run_id: str, entries: Sequence[Entry]) -> list[Entry]:
    """The entries about a run and the runs that it started."""
    return [
        entry
        for entry in entries
        if (own := str(entry.body.get("run_id", ""))) == run_id or own.startswith(f"{run_id}.")
    ]


def _manifest(run_id: str, files: Mapping[str, bytes], keys: Sequence[str]) -> bytes:
    content: dict[str, Any] = {
        "run_id": run_id,
        "files": {name: digest(files[name]) for name in sorted(files)},
    }
    if keys:
        signed = seal(keys[0], canonical_json(["evidence", content]))
        content = content | {"key": key_id(keys[0]), "seal": signed}
    return _pretty(content)


def _story(run_id: str, entries: Mapping[str, Sequence[Entry]], change_sets: Mapping[str, ChangeSet]) -> str:
    parts = [f"# Evidence of {run_id}"]
    for item in sorted(change_sets.values(), key=lambda item: (item.environment, item.cloud)):
        scope = f"{item.environment}/{item.cloud}"
        own = [entry for entry in entries.get(scope, ()) if entry.body.get("digest") == item.digest]
        parts += [_change_set(scope, item), *_approvals(own), *_results(own)]
    parts += [part for scope, own in sorted(entries.items()) for part in _waivers(scope, own)]
    return "\n\n".join(parts) + "\n"


def _change_set(scope: str, item: ChangeSet) -> str:
    lines = [
        f"## {scope}: {item.intent}, risk {item.risk}",
        "",
        f"- change set `{item.digest}`",
        f"- planned {item.planned_at}, revision `{item.revision}` (asked for as `{item.asked}`)",
        f"- source `{item.source}`, spec `{item.spec}`",
        *(f"- test {test['name']}: {test['text']}" for test in item.tests),
        *(f"- denied by policy: {text}" for text in item.denied),
    ]
    for change in item.changes:
        lines += ["", f"### {change.address}: {change.action}, risk {change.risk}", "", change.summary]
        lines += ["", "```text", *change.lines, "```"] if change.lines else []
    return "\n".join(lines)


def _approvals(entries: Sequence[Entry]) -> list[str]:
    found = []
    for entry in entries:
        if entry.kind == AUTHORIZED:
            lines = [f"Let through at {entry.at} (entry {entry.number}) for {entry.body['run_id']}:"]
            decisions = [Decision.from_json(value) for value in entry.body.get("decisions", ())]
            lines += [
                f"- {'approved' if decision.approved else 'rejected'} by {decision.responder} at {decision.decided_at}, "
                f"until {decision.expires_at}; asked for by {decision.requester or 'a schedule'}; key {decision.key}"
                for decision in decisions
            ]
            found.append(
                "\n".join(lines if decisions else [*lines, "- the policy asks nobody for this risk"])
            )
    return found


def _waivers(scope: str, entries: Sequence[Entry]) -> list[str]:
    lines = []
    for entry in entries:
        if entry.kind == WAIVER:
            waiver, refused = Waiver.from_json(entry.body), entry.body.get("refused")
            said = "let go on" if waiver.approved else "rejected"
            line = f"- {waiver.gate}: {said} by {waiver.responder} at {waiver.decided_at}"
            line += f", {waiver.reason}" if waiver.reason else ""
            lines.append(line + (f"; it did not count: {refused}" if waiver.approved and refused else ""))
    return ["\n".join([f"## {scope}: gates without data", "", *lines])] if lines else []


def _results(entries: Sequence[Entry]) -> list[str]:
    found = []
    for entry in entries:
        if entry.kind == ROLLOUT:
            rows = [
                f"| {item['address']} | {item['state']} | {item['version']} | {item['seconds']} |"
                for item in entry.body.get("results", ())
            ]
            head = ["| component | state | version | seconds |", "|---|---|---|---|"]
            found.append(
                "\n".join([f"Rollout recorded at {entry.at} (entry {entry.number}):", "", *head, *rows])
            )
    return found


def _pretty(value: Any) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
