"""Operators of Cloud Run and Cloud Functions, by the names that Google Cloud has for the steps."""

from __future__ import annotations

from typing import Any

from triplane.serverless.operators import ServerlessPrepareOperator, ServerlessTrafficOperator


class CloudRunCreateRevisionOperator(ServerlessPrepareOperator):
    """Create a revision of a service that gets no traffic. See :class:`triplane.serverless.operators.ServerlessPrepareOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="cloud_run", **kwargs)


class CloudRunUpdateTrafficOperator(ServerlessTrafficOperator):
    """Give a revision of a service a share of the traffic. See :class:`triplane.serverless.operators.ServerlessTrafficOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="cloud_run", **kwargs)


class CloudFunctionsCreateRevisionOperator(ServerlessPrepareOperator):
    """Build a function into a revision that gets no traffic. See :class:`triplane.serverless.operators.ServerlessPrepareOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="cloud_functions", **kwargs)


class CloudFunctionsUpdateTrafficOperator(ServerlessTrafficOperator):
    """Give a revision of a function a share of the traffic. See :class:`triplane.serverless.operators.ServerlessTrafficOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="cloud_functions", **kwargs)
