"""Operators of Azure Functions and Container Apps, by the names that Azure has for the steps."""

from __future__ import annotations

from typing import Any

from triplane.serverless.operators import ServerlessPrepareOperator, ServerlessTrafficOperator


class AzureFunctionsDeploySlotOperator(ServerlessPrepareOperator):
    """Deploy a version to a function app's slot. See :class:`triplane.serverless.operators.ServerlessPrepareOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="azure_functions", **kwargs)


class AzureFunctionsSwapSlotsOperator(ServerlessTrafficOperator):
    """Swap the slot of a function app with what serves. See :class:`triplane.serverless.operators.ServerlessTrafficOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="azure_functions", **kwargs)


class AzureContainerAppsCreateRevisionOperator(ServerlessPrepareOperator):
    """Create a revision of a container app that gets no traffic. See :class:`triplane.serverless.operators.ServerlessPrepareOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="container_apps", **kwargs)


class AzureContainerAppsUpdateTrafficOperator(ServerlessTrafficOperator):
    """Give a revision of a container app a share of the traffic. See :class:`triplane.serverless.operators.ServerlessTrafficOperator`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(target="container_apps", **kwargs)
