"""What is read of a serialized DAG: with the example, whose DAG is as rich as they come."""

from __future__ import annotations

from pathlib import Path

from airflow.serialization.serialized_objects import DagSerialization

from triplane.factories.cloud import cloud_dag
from triplane.spec.load import load
from triplane.ui.inventory import Inventory, is_child, read

EXAMPLE = Path(__file__).parents[3] / "examples" / "streaming-platform" / "platform.yaml"


def test_the_components_of_the_example_are_found_in_its_dag() -> None:
    platform = load(EXAMPLE, files=False)
    for cloud in platform.used_clouds():
        found = read(DagSerialization.to_dict(cloud_dag(cloud, str(EXAMPLE), prefix="x_")))
        assert set(found.components) == set(platform.addresses(cloud))
        assert (found.platform, found.cloud, found.prefix) == (platform.name, cloud, "x_")
        assert found.environments == tuple(platform.environments)
        assert (found.parent, found.drift) == ("x_deploy", "x_drift_check")
        assert (f"{cloud}/stack/network", f"{cloud}/stack/cluster") in found.edges
        assert found.addresses["infrastructure.network.apply_again"] == f"{cloud}/stack/network"


def test_the_runs_that_a_run_starts_are_of_readable_dags() -> None:
    found = Inventory(frozenset({"deploy", "deploy_gcp"}), ())
    keys = found.family("deploy", "r")
    assert keys[0] == ("deploy", "r")
    assert {dag_id for dag_id, _ in keys} == {"deploy", "deploy_gcp"}
    assert all(is_child(run_id) for _, run_id in keys[1:])
    assert not is_child("r")
