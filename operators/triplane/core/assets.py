"""Names of the Airflow assets that say what was deployed and what has drifted."""

from __future__ import annotations


def component_uri(platform: str, environment: str, address: str) -> str:
    """The asset of a component: it has an event for each deployment. ``address`` as in the spec, ``aws/stack/network``."""
    return f"triplane://{platform}/{environment}/{address}"


def drift_uri(platform: str, environment: str) -> str:
    """The asset of an environment's drift: it has an event for each drift check."""
    return f"triplane://{platform}/{environment}/drift"


def deployments_alias(platform: str, cloud: str) -> str:
    """The asset alias of everything that is deployed to a cloud, in all environments."""
    return f"triplane/{platform}/{cloud}"


def drift_alias(platform: str) -> str:
    """The asset alias of the drift checks of all environments."""
    return f"triplane/{platform}/drift"
