"""Airflow DAG `small_deploy_azure`: one cloud of the small platform."""

import os

from triplane.factories.cloud import cloud_dag

dag = cloud_dag("azure", os.environ["SMALL_PLATFORM"], prefix="small_")
