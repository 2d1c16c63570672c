"""What a run would change, cloud by cloud, and where a rollback would go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from triplane.core import deployed
from triplane.core.approval import Policy, votes_needed
from triplane.core.change import ChangeSet
from triplane.core.errors import InputError
from triplane.core.history import ROLLOUT, previous
from triplane.core.words import CLOUDS, urgent_first
from triplane.ui import database
from triplane.ui.database import RunKey
from triplane.ui.inventory import Inventory
from triplane.ui.models import Change, Changes, CloudChanges, CloudSummary, Run, WayBack

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from triplane.ui.archive import Archive

TASKS = ("change_set", "change_sets")
"""The tasks that push the digests of change sets, of one cloud and of all."""


def changes(session: Session, found: Inventory, archive: Archive, run: Run) -> Changes:
    """The change sets of a run. XComs only say which: what is shown was checked against its digest."""
    sets = of_run(session, found, archive, (run.dag_id, run.run_id))
    return Changes(
        problems=archive.problems,
        run=run,
        clouds=tuple(
            cloud_changes(each, archive.deployed(f"{each.environment}/{each.cloud}")) for each in sets
        ),
    )


def of_run(session: Session, found: Inventory, archive: Archive, key: RunKey) -> list[ChangeSet]:
    """The change sets of a run: those that it has planned, or the approved ones that it applies."""
    keys = found.family(*key)
    digests: dict[str, str] = {}
    for (dag_id, _, _), digest in database.xcoms(session, keys, "change_set", ("authorize",)).items():
        if dag := found.of(dag_id):
            digests[dag.cloud] = str(digest)
    for value in database.xcoms(session, keys, "change_sets", TASKS).values():
        digests |= _digests(value)
    return readable(found, archive, digests)


class Asked(NamedTuple):
    """What an approval is about: the digests of its change sets by cloud, and those that the user may read."""

    digests: Mapping[str, str]
    sets: Sequence[ChangeSet]

    @property
    def hidden(self) -> tuple[str, ...]:
        """The clouds whose change sets are not shown."""
        return tuple(sorted({*self.digests} - {each.cloud for each in self.sets}))


def asked_about(session: Session, found: Inventory, archive: Archive, key: RunKey, task_id: str) -> Asked:
    """What an approval task of a run is about, as the task before it has said."""
    stage = task_id.removesuffix("approval")
    asking = (f"{stage}apply",) if stage else TASKS
    for value in database.xcoms(session, [key], "return_value", asking).values():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            digests = _digests(value[0].get("change_sets"))
            return Asked(digests, readable(found, archive, digests))
    return Asked({}, ())


def readable(found: Inventory, archive: Archive, digests: Mapping[str, str]) -> list[ChangeSet]:
    """The change sets of these digests (by cloud), of the clouds whose DAG the user may read."""
    sets = [archive.change_set(digests[cloud]) for cloud in CLOUDS if cloud in digests]
    own = {(dag.platform, dag.cloud) for dag in found.clouds}
    return [each for each in sets if each and (each.platform, each.cloud) in own]


def cloud_changes(change_set: ChangeSet, there: Mapping[str, Mapping[str, Any]]) -> CloudChanges:
    """A change set as it is shown, what is denied and what hurts most first."""
    return CloudChanges(
        digest=change_set.digest,
        platform=change_set.platform,
        environment=change_set.environment,
        cloud=change_set.cloud,
        intent=change_set.intent,
        risk=str(change_set.risk),
        revision=change_set.revision,
        asked=change_set.asked,
        planned_at=change_set.planned_at,
        emergency=change_set.emergency,
        votes=votes_needed(change_set),
        changes=tuple(
            Change(
                address=change.address,
                action=change.action,
                risk=str(change.risk),
                summary=change.summary,
                lines=change.lines,
                denied=change.denied,
                binds=dict(change.binds),
                now=str(there.get(change.address, {}).get("version", "")),
            )
            for change in urgent_first(change_set.changes)
        ),
        tests=tuple(f"{test['name']}: {test['text']}" for test in change_set.tests),
        policy=tuple(rules(change_set)),
        release=_release(change_set.release),
    )


def summary(change_set: ChangeSet) -> CloudSummary:
    """A change set in one line."""
    return CloudSummary(
        cloud=change_set.cloud,
        digest=change_set.digest,
        changed=len(change_set.changed),
        risk=str(change_set.risk),
        intent=change_set.intent,
        revision=change_set.revision,
        emergency=change_set.emergency,
    )


def rules(change_set: ChangeSet) -> list[str]:
    """What the environment's policy says of this change set."""
    policy, emergency = Policy.from_json(change_set.policy), bool(change_set.emergency)
    needed = votes_needed(change_set)
    found = [f"{needed} approvals are needed" if needed != 1 else "one approval is needed"]
    if not needed:
        found = ["nobody is asked"]
    found += [f"a decision holds for {policy.expires / 3600:g} h"] if needed else []
    for group, users in policy.groups(change_set.risk).items():
        found.append(f"somebody of {group} must be among them: {', '.join(users)}")
    if policy.needs_reason(change_set.risk, emergency=emergency):
        found.append("a reason is needed")
    if not policy.requester_may_approve and needed:
        found.append("who asked for it may not approve it")
    return found


def way_back(archive: Archive, environment: str, cloud: str) -> WayBack:
    """Where a rollback of this scope would go now, and which components would be other ones then."""
    scope, found = f"{environment}/{cloud}", WayBack(environment=environment, cloud=cloud)
    entries = archive.entries(scope)
    if archive.problems:
        return found.model_copy(update={"problems": archive.problems, "reason": "The ledger cannot be read."})
    try:
        version = previous(entries, scope)
    except InputError as error:
        return found.model_copy(update={"reason": str(error)})
    good = [
        entry for entry in entries if entry.kind == ROLLOUT and entry.body["digest"] == version.change_set
    ]
    then = {
        item["address"]: item["version"]
        for item in good[-1].body.get("results", ())
        if item["state"] in deployed.THERE
    }
    return found.model_copy(
        update={
            "revision": version.revision,
            "change_set": version.change_set,
            "run_id": str(good[-1].body.get("run_id", "")),
            "changes": tuple(_others(then, archive.deployed(scope))),
        }
    )


def _others(then: Mapping[str, str], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The components that are there now, and were not there then or were another version."""
    return sorted(address for address, known in now.items() if then.get(address) != known["version"])


def _digests(value: Any) -> dict[str, str]:
    """Cloud -> digest, from an XCom: somebody may have written anything there."""
    return {str(cloud): str(name) for cloud, name in value.items()} if isinstance(value, Mapping) else {}


def _release(release: Mapping[str, Any]) -> str:
    """What happens to the other clouds if one of them fails."""
    if not release.get("policy"):
        return ""
    good = release.get("quorum") or "all"
    return (
        f"{release['policy']}: unless {good} of the clouds end well, those that were changed are rolled back"
    )
