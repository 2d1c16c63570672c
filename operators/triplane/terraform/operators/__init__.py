"""Terraform as Airflow tasks: plan, apply exactly that plan once, and look for drift."""

from triplane.terraform.operators.apply import (
    TerraformApplyOperator,
    TerraformApplyOrAskOperator,
    TerraformDestroyOperator,
)
from triplane.terraform.operators.drift import TerraformDriftBatchOperator, TerraformDriftOperator
from triplane.terraform.operators.plan import TerraformPlanOperator

__all__ = [
    "TerraformApplyOperator",
    "TerraformApplyOrAskOperator",
    "TerraformDestroyOperator",
    "TerraformDriftBatchOperator",
    "TerraformDriftOperator",
    "TerraformPlanOperator",
]
