"""Airflow DAG `drift_check`: has anybody changed what was deployed?"""

from triplane.factories.drift import drift_dag

dag = drift_dag()
