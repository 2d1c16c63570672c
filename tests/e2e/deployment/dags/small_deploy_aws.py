"""Airflow DAG `small_deploy_aws`: one cloud of the small platform."""

import os

from triplane.factories.cloud import cloud_dag

dag = cloud_dag("aws", os.environ["SMALL_PLATFORM"], prefix="small_")
