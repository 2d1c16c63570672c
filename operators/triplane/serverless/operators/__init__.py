"""Functions and serverless containers as Airflow tasks: plan, and deploy exactly what was planned."""

from triplane.serverless.operators.base import ServerlessOperator
from triplane.serverless.operators.delete import ServerlessDeleteOperator
from triplane.serverless.operators.deploy import ServerlessDeployOperator
from triplane.serverless.operators.plan import ServerlessPlanOperator

__all__ = [
    "ServerlessDeleteOperator",
    "ServerlessDeployOperator",
    "ServerlessOperator",
    "ServerlessPlanOperator",
]
