"""Airflow DAG `deploy_azure`: plan, ask and apply in Azure."""

from triplane.factories.cloud import cloud_dag

dag = cloud_dag("azure")
