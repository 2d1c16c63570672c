"""Ansible as Airflow tasks: plan in check mode, apply what was planned, undo."""

from triplane.machines.operators.apply import AnsibleApplyOperator as AnsibleApplyOperator
from triplane.machines.operators.apply import AnsibleDestroyOperator as AnsibleDestroyOperator
from triplane.machines.operators.plan import AnsiblePlanOperator as AnsiblePlanOperator
