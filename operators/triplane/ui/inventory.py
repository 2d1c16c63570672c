"""What the platforms consist of, as Airflow's database knows it: their DAGs, clouds, environments and components."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from triplane.core.stages import CHILD
from triplane.core.words import CLOUDS
from triplane.ui.models import Scope

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

TAG = "triplane"
KNOWN = 64
"""DAG versions that are remembered in this process: reading a large one takes longer than all else."""
_NAME = re.compile(rf"(?P<prefix>.*)deploy_(?P<cloud>{'|'.join(CLOUDS)})")


@dataclass(frozen=True)
class CloudDag:
    """The DAG of one cloud. ``edges`` are pairs of addresses within one stage: the second comes after the first;
    ``addresses`` are those of the tasks that are about a component."""

    dag_id: str
    prefix: str
    cloud: str
    platform: str
    environments: tuple[str, ...]
    components: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    addresses: Mapping[str, str] = field(repr=False)

    @property
    def parent(self) -> str:
        """The id of the DAG that deploys to all clouds."""
        return f"{self.prefix}deploy"

    @property
    def drift(self) -> str:
        """The id of the DAG that looks for drift."""
        return f"{self.prefix}drift_check"


@dataclass(frozen=True)
class Inventory:
    """The platforms' DAGs that a user may read: ``dag_ids`` are all of them, ``clouds`` those of single clouds."""

    dag_ids: frozenset[str]
    clouds: tuple[CloudDag, ...]

    def of(self, dag_id: str) -> CloudDag | None:
        """The DAG of one cloud; None for others."""
        return next((dag for dag in self.clouds if dag.dag_id == dag_id), None)

    def environments(self) -> tuple[str, ...]:
        """All environments, in the order of the specs."""
        return tuple(dict.fromkeys(name for dag in self.clouds for name in dag.environments))

    def scopes(self, owners: Mapping[str, str]) -> Iterator[tuple[CloudDag, Scope]]:
        """Each cloud in each environment. ``owners`` says which platform an environment belongs to, once it was deployed:
        those of others are left out."""
        for dag in self.clouds:
            for environment in dag.environments:
                if owners.get(environment, dag.platform) == dag.platform:
                    yield (
                        dag,
                        Scope(
                            platform=dag.platform,
                            environment=environment,
                            cloud=dag.cloud,
                            dag_id=dag.dag_id,
                            parent_dag_id=dag.parent if dag.parent in self.dag_ids else "",
                            drift_dag_id=dag.drift if dag.drift in self.dag_ids else "",
                        ),
                    )

    def family(self, dag_id: str, run_id: str) -> list[tuple[str, str]]:
        """A run, and the runs that it may have started, as far as the user may read them."""
        children = (
            (f"{dag_id}_{cloud}", f"{run_id}.{cloud}.{kind}")
            for cloud in CLOUDS
            for kind in ("plan", "apply", "settle")
        )
        return [(dag_id, run_id), *(child for child in children if child[0] in self.dag_ids)]


def is_child(run_id: str) -> bool:
    """Whether another run has started this one."""
    return bool(CHILD.search(run_id))


def is_component(address: str) -> bool:
    """``aws/stack/network`` is one; ``aws/leftovers``, what has left the spec, is none."""
    return address.count("/") == 2


def inventory(session: Session, readable: Collection[str]) -> Inventory:
    """The DAGs of all platforms among those that a user may read."""
    from airflow.models.dag import DagModel, DagTag
    from sqlalchemy import select

    tagged = select(DagModel.dag_id).join(DagTag, DagTag.dag_id == DagModel.dag_id)
    found = session.scalars(tagged.where(DagTag.name == TAG, ~DagModel.is_stale))
    dag_ids = frozenset(found) & frozenset(readable)
    named = sorted(dag_id for dag_id in dag_ids if _NAME.fullmatch(dag_id))
    clouds = [_cloud_dag(session, *version) for version in _latest(session, named)]
    return Inventory(dag_ids, tuple(sorted(clouds, key=lambda dag: (dag.prefix, _rank(dag.cloud)))))


def read(data: Mapping[str, Any]) -> CloudDag:
    """The DAG of a cloud, from what Airflow has serialized of it."""
    dag = data["dag"]
    match = _NAME.fullmatch(dag["dag_id"])
    if match is None:
        raise ValueError(f"{dag['dag_id']} is not the DAG of one cloud")
    tasks = {task["task_id"]: task for task in (_plain(item) for item in dag["tasks"])}
    named = {name: str(task.get("address", "")) for name, task in tasks.items()}
    addresses = {name: address for name, address in named.items() if is_component(address)}
    planned = [address for name, address in addresses.items() if name.endswith(".plan")]
    return CloudDag(
        dag_id=dag["dag_id"],
        prefix=match["prefix"],
        cloud=match["cloud"],
        platform=_platform(tasks.get("record", {})),
        environments=_environments(dag.get("params", ())),
        components=tuple(dict.fromkeys(planned)),
        edges=tuple(_edges(tasks, addresses)),
        addresses=addresses,
    )


_read: dict[Any, CloudDag] = {}


def _latest(session: Session, dag_ids: list[str]) -> list[tuple[str, Any]]:
    from airflow.models.serialized_dag import SerializedDagModel as Model
    from sqlalchemy import select

    rows = session.execute(
        select(Model.dag_id, Model.id).where(Model.dag_id.in_(dag_ids)).order_by(Model.created_at)
    )
    return list({row.dag_id: row.id for row in rows}.items())


def _cloud_dag(session: Session, dag_id: str, version: Any) -> CloudDag:
    from airflow.models.serialized_dag import SerializedDagModel

    found = _read.get(version)
    if found is None:
        model: Any = session.get(SerializedDagModel, version)
        found = read(model.data)
        session.expunge(model)
        while len(_read) >= KNOWN:
            _read.pop(next(iter(_read)), None)
        _read[version] = found
    return found


def _plain(item: Any) -> Any:
    return item.get("__var", item) if isinstance(item, Mapping) else item


def _platform(record: Mapping[str, Any]) -> str:
    """From the alias of what it deploys: ``triplane/<platform>/<cloud>``."""
    names = [str(_plain(outlet).get("name", "")) for outlet in record.get("outlets", ())]
    parts = names[0].split("/") if names else []
    return parts[1] if len(parts) == 3 else ""


def _environments(params: Any) -> tuple[str, ...]:
    for name, param in params:
        if name == "environment":
            return tuple(_plain(param.get("schema", {})).get("enum", ()))
    return ()


def _edges(tasks: Mapping[str, Mapping[str, Any]], addresses: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Between components of one kind, as they are applied."""
    seen = set()
    for name, address in addresses.items():
        if name.endswith(".plan") or name.startswith("destroy."):
            continue
        for below in tasks[name].get("downstream_task_ids", ()):
            other = addresses.get(below, address)
            edge = (address, other)
            if other != address and _kind(other) == _kind(address) and edge not in seen:
                seen.add(edge)
                yield edge


def _kind(address: str) -> str:
    return address.split("/")[1]


def _rank(cloud: str) -> int:
    return list(CLOUDS).index(cloud)
