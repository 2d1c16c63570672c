"""Airflow DAG `deploy`: plan in every cloud, ask once, apply in every cloud."""

from triplane.factories.parent import parent_dag

dag = parent_dag()
