"""Airflow DAG `deploy_gcp`: plan, ask and apply in Google Cloud."""

from triplane.factories.cloud import cloud_dag

dag = cloud_dag("gcp")
