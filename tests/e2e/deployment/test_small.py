"""The small platform lives beside the example in the same Airflow."""

from __future__ import annotations

from tests.e2e.deployment.conftest import Installation


def test_two_platforms_in_one_airflow(installation: Installation) -> None:
    run_id = installation.start_small()
    assert installation.approve(run_id, "small_deploy") == "success"
    rows = installation.alice.xcom("small_deploy", run_id, "report", "rows")
    assert [(row["cloud"], row["component"], row["state"]) for row in rows] == [
        (cloud, "stack/main", "deployed") for cloud in ("aws", "gcp", "azure")
    ]
