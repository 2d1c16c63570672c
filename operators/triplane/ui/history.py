"""The ledger for people: what was planned, who let it through, what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from triplane.core import ledger as core
from triplane.ui.inventory import Inventory
from triplane.ui.models import Entry, History, Scope, Verification

if TYPE_CHECKING:
    from triplane.ui.archive import Archive

PAGE = 60


def scopes(found: Inventory, archive: Archive) -> tuple[Scope, ...]:
    """The scopes whose ledger the user may read: those of the DAGs that he may read."""
    return tuple(scope for _, scope in found.scopes(archive.owners(found.environments())))


def history(
    archive: Archive, known: tuple[Scope, ...], scope: Scope | None, before: int | None = None
) -> History:
    """A page of the ledger of ``scope``, the entries before number ``before``. Not verified: that takes all entries."""
    found = archive.newest(_name(scope), PAGE, before) if scope else []
    return History(
        problems=archive.problems,
        scope=scope,
        scopes=known,
        entries=tuple(map(entry, found)),
        before=found[-1].number if found and found[-1].number > 0 else None,
    )


def verify(archive: Archive, scope: Scope) -> Verification:
    """Whether the whole chain holds. Seals can only be checked with the signing key, which API servers need not have."""
    from triplane import settings

    broken, head = archive.verified(_name(scope))
    return Verification(
        problems=archive.problems,
        entries=head.number + 1 if head else 0,
        broken=tuple(broken),
        seals=settings.has_signing_key(),
    )


def evidence(known: tuple[Scope, ...], run_id: str) -> bytes:
    """The evidence bundle of a run, from the ledgers of these scopes.

    :raises InputError: none of them knows the run
    :raises RefusedError: a ledger or a change set was tampered with
    """
    from triplane import settings
    from triplane.core.evidence import bundle
    from triplane.core.evidence import evidence as collect

    ledgers = [settings.ledger(_name(scope)) for scope in known]
    keys = settings.signing_keys() if settings.has_signing_key() else ()
    return bundle(collect(run_id, ledgers, settings.get_change_set, keys))


def entry(found: core.Entry) -> Entry:
    """An entry as it is shown."""
    body: Mapping[str, Any] = found.body
    decisions = body.get("decisions") or ()
    people = body.get("approved_by") or ([body["responder"]] if body.get("approved") else [])
    reasons = [
        str(body.get("reason", "")),
        *(str(decision.get("reason", "")) for decision in decisions if isinstance(decision, Mapping)),
    ]
    return Entry(
        number=found.number,
        at=found.at,
        kind=found.kind,
        digest=str(body.get("digest", "")),
        run_id=str(body.get("run_id", "")),
        revision=str(body.get("revision", "")),
        intent=str(body.get("intent", "")),
        risk=str(body.get("risk", "")),
        emergency=str(body.get("emergency", "")),
        about=str(body.get("gate") or body.get("address") or ""),
        approved_by=tuple(map(str, people)),
        reasons=tuple(filter(None, reasons)),
        states=dict(Counter(str(item["state"]) for item in body.get("results") or ())),
        sealed=bool(found.seal),
    )


def _name(scope: Scope) -> str:
    return f"{scope.environment}/{scope.cloud}"
