"""The page as an Airflow plugin. Every part of Airflow loads it, so nothing is imported before somebody asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/triplane"
_ICONS = {"icon": "triplane/static/icon.svg", "icon_dark_mode": "triplane/static/icon-dark.svg"}
_RUN = "dag_id={DAG_ID}&run_id={RUN_ID}"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """The page as an ASGI application, made when the first request comes."""
    from triplane.ui.app import application

    await application()(scope, receive, send)


def _view(name: str, href: str, route: str, destination: str, **more: Any) -> dict[str, Any]:
    """Addresses are relative: Airflow may be served below a path."""
    return {
        "name": name,
        "href": f"triplane/{href}",
        "url_route": route,
        "destination": destination,
        **_ICONS,
        **more,
    }


class TriplanePlugin(AirflowPlugin):
    """Puts the page into the navigation, and its views on DAGs, runs and tasks."""

    name = "triplane"
    fastapi_apps = [{"app": page, "url_prefix": PREFIX, "name": "Triplane"}]
    external_views = [
        _view("Deployments", "overview", "deployments", "nav", nav_top_level=True),
        _view("Deployments", "overview?dag_id={DAG_ID}", "triplane", "dag"),
        _view("Rollout", f"rollout?{_RUN}", "triplane-rollout", "dag_run"),
        _view("Changes", f"changes?{_RUN}", "triplane-changes", "dag_run"),
        _view("Rollout", f"rollout?{_RUN}&task_id={{TASK_ID}}", "triplane-task", "task_instance"),
    ]
