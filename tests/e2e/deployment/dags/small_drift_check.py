"""Airflow DAG `small_drift_check`: the drift check of the small platform."""

import os

from triplane.factories.drift import drift_dag

dag = drift_dag(os.environ["SMALL_PLATFORM"], schedule=None, prefix="small_")
