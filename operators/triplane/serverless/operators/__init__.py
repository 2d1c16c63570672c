"""Functions and serverless containers as Airflow tasks: plan, and deploy exactly what was planned."""

from triplane.serverless.operators.base import ServerlessOperator
from triplane.serverless.operators.delete import ServerlessDeleteOperator
from triplane.serverless.operators.deploy import ServerlessDeployOperator
from triplane.serverless.operators.plan import ServerlessPlanOperator
from triplane.serverless.operators.steps import (
    ServerlessInvokeOperator,
    ServerlessPrepareOperator,
    ServerlessTrafficOperator,
)

__all__ = [
    "ServerlessDeleteOperator",
    "ServerlessDeployOperator",
    "ServerlessInvokeOperator",
    "ServerlessOperator",
    "ServerlessPlanOperator",
    "ServerlessPrepareOperator",
    "ServerlessTrafficOperator",
]
