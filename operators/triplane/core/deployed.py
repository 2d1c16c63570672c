"""What rollouts have deployed and not destroyed, for each scope (``<environment>/<cloud>``).

A drift check tells what was never deployed (pending) from what is gone (missing) by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from triplane.core.digest import canonical_json
from triplane.core.errors import InputError

if TYPE_CHECKING:
    from triplane.core.change import ChangeSet
    from triplane.core.ledger import Entry, Ledger
    from triplane.core.store import ArtifactStore

FORGOTTEN = "forgotten"
"""Kind of the entry in the ledger about a component that somebody has dealt with by hand."""
THERE = ("deployed", "unchanged", "rolled_back")
STAYS = {
    "stack": "its resources and its state stay",
    "machines": "what its playbook did stays on the machines",
    "manifests": "its objects stay in the cluster",
    "chart": "its release stays in the cluster",
    "function": "it goes on serving",
}
"""Kinds that no deployment removes when they leave the spec -> what is left of them then."""


def read(store: ArtifactStore, scope: str) -> dict[str, dict[str, Any]]:
    """Address -> ``version``, ``change_set``, ``revision``, ``run_id`` and ``secrets`` (name -> version) of the rollout that saw
    it last."""
    data = store.get_named(_key(scope))
    found: dict[str, dict[str, Any]] = {} if data is None else json.loads(data)
    return found


def record(
    store: ArtifactStore, change_set: ChangeSet, results: Iterable[Mapping[str, Any]], run_id: str
) -> None:
    """Keep what a rollout of ``change_set`` has deployed, and forget what it has destroyed."""
    scope = f"{change_set.environment}/{change_set.cloud}"
    found, digest = read(store, scope), change_set.digest
    for result in results:
        nothing_there = change_set.intent == "destroy" and result["state"] == "unchanged"
        if result["state"] == "destroyed" or nothing_there:
            found.pop(result["address"], None)
        elif result["state"] in THERE:
            found[result["address"]] = {
                "version": result["version"],
                "change_set": digest,
                "revision": change_set.revision,
                "run_id": run_id,
                "secrets": dict(change_set.secrets.get(result["address"], {})),
            }
    store.put_named(_key(scope), canonical_json(found))


def forget(store: ArtifactStore, ledger: Ledger, address: str, **said: str) -> Entry:
    """Take a component for one that was never deployed, once that is on record with what is ``said`` of it.

    :raises InputError: it is not known
    :raises RefusedError: the ledger is not to be trusted
    """
    found = read(store, ledger.scope)
    if address not in found:
        known = ", ".join(sorted(found)) or "nothing"
        raise InputError(f"{ledger.scope}: {address} is not among what was deployed: {known}")
    version = found.pop(address)["version"]
    entry = ledger.append(FORGOTTEN, {"address": address, "version": version, **said})
    store.put_named(_key(ledger.scope), canonical_json(found))
    return entry


def left_behind(store: ArtifactStore, scope: str, wanted: Iterable[str]) -> dict[str, str]:
    """Address -> what is left of it, for what was deployed once and is not ``wanted`` (addresses) any more."""
    known, in_spec = read(store, scope), set(wanted)
    return {
        address: f"it has left the spec, and {STAYS[kind]}; last deployed at {known[address]['revision'][:12]}"
        for address in sorted(known)
        if address not in in_spec and (kind := address.split("/")[1]) in STAYS
    }


def _key(scope: str) -> str:
    return f"deployments/{scope}"
