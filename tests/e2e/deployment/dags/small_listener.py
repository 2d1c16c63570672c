"""Airflow DAG `small_listener`: somebody else's, which runs whenever a component of the small platform was deployed."""

from airflow.sdk import DAG, Asset, get_current_context, task

DEPLOYED = Asset("triplane://small/drifting/aws/stack/main")

with DAG("small_listener", schedule=[DEPLOYED], catchup=False) as dag:

    @task
    def hear() -> list[dict[str, object]]:
        events = get_current_context()["triggering_asset_events"][DEPLOYED]
        return [dict(event.extra) for event in events]

    hear()
