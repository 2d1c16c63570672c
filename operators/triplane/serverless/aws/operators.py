"""Operators of Lambda and ECS, by the names that AWS has for the steps."""

from __future__ import annotations

from typing import Any

from triplane.serverless.operators import (
    ServerlessDeployOperator,
    ServerlessPrepareOperator,
    ServerlessTrafficOperator,
)


class LambdaPublishVersionOperator(ServerlessPrepareOperator):
    """Publish a version of a function; its alias stays where it is. See :class:`triplane.serverless.operators.ServerlessPrepareOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="lambda", **kwargs)


class LambdaUpdateAliasOperator(ServerlessTrafficOperator):
    """Move a function's alias to a version, or give that a weight. See :class:`triplane.serverless.operators.ServerlessTrafficOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="lambda", **kwargs)


class EcsUpdateServiceOperator(ServerlessDeployOperator):
    """Register a task definition and roll a service over to it, with the way back. See :class:`triplane.serverless.operators.ServerlessDeployOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="fargate", **kwargs)
