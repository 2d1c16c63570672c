"""Airflow DAG `deploy_aws`: plan, ask and apply in AWS."""

from triplane.factories.cloud import cloud_dag

dag = cloud_dag("aws")
