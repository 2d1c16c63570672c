"""Airflow DAGs `told_deploy` and `told_deploy_<cloud>`: a small platform that tells people what it does."""

import os

from airflow.sdk import DAG

from triplane.factories.cloud import cloud_dag
from triplane.factories.parent import parent_dag

SPEC = os.environ["TOLD_PLATFORM"]
dag: DAG = parent_dag(SPEC, prefix="told_")
aws, gcp, azure = (cloud_dag(cloud, SPEC, prefix="told_") for cloud in ("aws", "gcp", "azure"))
