"""The gates of a spec, as operators take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from triplane.factories.context import Build, policies
from triplane.factories.notify import routes_of
from triplane.factories.values import PerEnvironment, per_environment
from triplane.spec.model import Platform

CLOUD_OF = {"cloudwatch": "aws", "cloud_monitoring": "gcp", "azure_monitor": "azure"}
"""Source -> the cloud whose connection it uses where it names none."""


def checks(platform: Platform, names: Sequence[str]) -> list[dict[str, Any]]:
    """The checks that are called ``names``, as they are written."""
    return [platform.gates[name].plain(name, **_defaults(platform, name)) for name in names]


def checks_in(platform: Platform, names: Sequence[str]) -> PerEnvironment:
    """The same for each environment, its references replaced."""
    return per_environment(platform, checks(platform, names))


def terms(build: Build, names: Sequence[str]) -> PerEnvironment | None:
    """Who is asked where the gates that are called ``names`` have no data, for each environment: its approvers, for as
    long as an approval holds. None where none of them asks.
    """
    if not any(build.platform.gates[name].no_data == "ask" for name in names):
        return None
    routes = routes_of(build)
    return PerEnvironment(
        {
            name: {
                "approvers": policy["approvers"],
                "within": policy["expires"],
                "requester_may_approve": policy["requester_may_approve"],
                "notify": routes,
            }
            for name, policy in policies(build.platform).items()
        }
    )


def _defaults(platform: Platform, name: str) -> dict[str, Any]:
    """Whose connection, region and project a query uses, unless it says so itself."""
    gate = platform.gates[name]
    cloud = CLOUD_OF.get(gate.kind) or getattr(gate.source, "cloud", None)
    if cloud is None:
        return {}
    used = platform.used_clouds().get(cloud)
    if used is None:
        from triplane.clouds import DEFAULT_CONNECTIONS

        return {"connection": DEFAULT_CONNECTIONS[cloud]}
    found = {"connection": used.connection}
    if cloud == "aws":
        found["region"] = used.region  # type: ignore[union-attr]
    if gate.kind == "cloud_monitoring":
        found["project"] = used.project  # type: ignore[union-attr]
    return found
