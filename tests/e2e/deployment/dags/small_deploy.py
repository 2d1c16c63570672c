"""Airflow DAG `small_deploy`: the parent of the small platform."""

import os

from triplane.factories.parent import parent_dag

dag = parent_dag(os.environ["SMALL_PLATFORM"], prefix="small_")
