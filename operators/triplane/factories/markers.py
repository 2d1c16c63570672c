"""Where a cloud's rollouts leave a mark, as the task that records them takes it."""

from __future__ import annotations

from typing import Any

from triplane.spec.model import AwsCloud, GcpCloud, Platform


def markers(platform: Platform, cloud: str) -> list[dict[str, Any]]:
    """The places of one cloud, see :mod:`triplane.gates.markers`."""
    spec, used = platform.markers, platform.cloud(cloud)
    found: list[dict[str, Any]] = []
    if cloud in spec.clouds and isinstance(used, AwsCloud):
        found.append({"kind": "cloudwatch", "connection": used.connection, "region": used.region})
    if cloud in spec.clouds and isinstance(used, GcpCloud):
        found.append({"kind": "cloud_monitoring", "connection": used.connection, "project": used.project})
    if cloud == "azure" and spec.application_insights:
        place = {"connection": used.connection, "resource": spec.application_insights}
        found.append({"kind": "application_insights", **place})
    if spec.pushgateway:
        found.append({"kind": "pushgateway", **spec.pushgateway.asdict()})
    return found
