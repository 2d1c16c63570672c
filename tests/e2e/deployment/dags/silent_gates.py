"""Airflow DAG `silent_gates`: gates of somebody's own that have no data, and ask bob."""

from datetime import timedelta

from airflow.sdk import DAG

from triplane.gates.sensors import GateSensor

SILENT = {
    "name": "errors",
    "source": "http",
    "query": {"url": "http://127.0.0.1:9"},
    "lasting": 0.2,
    "every": 0.1,
    "patience": 0.1,
    "no_data": "ask",
}
WITHIN = {"approved": 600.0, "rejected": 600.0, "expired": 4.0}

with DAG("silent_gates", schedule=None, catchup=False) as dag:
    for name, seconds in WITHIN.items():
        GateSensor(
            task_id=name,
            checks=[SILENT],
            ask={"approvers": ["bob"], "within": seconds},
            scopes=["silent/aws"],
            execution_timeout=timedelta(minutes=5),
        )
