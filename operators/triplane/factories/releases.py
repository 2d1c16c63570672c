"""What the operators of a Helm release get from the spec."""

from __future__ import annotations

from typing import Any

from triplane.factories.values import per_environment
from triplane.spec.model import Chart, Platform


def chart_options(platform: Platform, name: str, chart: Chart) -> dict[str, Any]:
    """Where the chart comes from, what it is given, and how it is upgraded."""
    place = {"path": chart.path}
    if chart.path is None:
        place = {"repository": chart.repository, "chart": chart.chart, "version": chart.version}
    return {
        **place,
        "chart_conn_id": chart.connection,
        "release": name,
        "namespace": chart.namespace,
        "values_files": per_environment(platform, list(chart.values_files)),
        "values": per_environment(platform, chart.values),
        "images_as": chart.images_as,
        "crds": chart.crds,
        "test": chart.test,
        "history_max": chart.history_max,
        "timeout": chart.timeout.total_seconds(),
    }
