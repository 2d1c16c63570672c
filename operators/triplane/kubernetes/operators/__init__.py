"""Helm releases as Airflow tasks: plan, deploy exactly what was planned, and compare what serves."""

from triplane.kubernetes.operators.parity import ImageParityOperator
from triplane.kubernetes.operators.plan import HelmPlanOperator
from triplane.kubernetes.operators.uninstall import HelmUninstallOperator
from triplane.kubernetes.operators.upgrade import HelmUpgradeOperator

__all__ = ["HelmPlanOperator", "HelmUninstallOperator", "HelmUpgradeOperator", "ImageParityOperator"]
