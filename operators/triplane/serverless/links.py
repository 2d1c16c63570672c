"""Links from a task to what it deploys in its cloud's console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from triplane.links import UrlLink

if TYPE_CHECKING:
    from triplane.serverless.targets import Place

CONSOLE_URL = "console_url"
_AZURE = {
    "azure_functions": "Microsoft.Web/sites",
    "container_apps": "Microsoft.App/containerApps",
    "logic_apps": "Microsoft.Logic/workflows",
}


class ConsoleLink(UrlLink):
    """The function, service, schedule or stream in the cloud's console."""

    name = "Console"
    key = CONSOLE_URL


def console_url(target: str, name: str, place: Place, options: Mapping[str, Any]) -> str:
    """Where people see ``name``; "" for a target that is not known here."""
    region, name = place.region or "", quote(name)
    match target:
        case "lambda":
            return f"https://{region}.console.aws.amazon.com/lambda/home?region={region}#/functions/{name}"
        case "fargate":
            cluster = quote(str(options.get("cluster") or "default").rpartition("/")[2])
            return f"https://{region}.console.aws.amazon.com/ecs/v2/clusters/{cluster}/services/{name}?region={region}"
        case "cloud_run":
            return f"https://console.cloud.google.com/run/detail/{region}/{name}?project={place.project}"
        case "cloud_functions":
            return (
                f"https://console.cloud.google.com/functions/details/{region}/{name}?project={place.project}"
            )
        case "eventbridge":
            return f"https://{region}.console.aws.amazon.com/scheduler/home?region={region}#schedules/default/{name}"
        case "eventbridge_rules":
            return f"https://{region}.console.aws.amazon.com/events/home?region={region}#/eventbus/default/rules/{name}"
        case "kinesis":
            return console_url("lambda", str(options.get("function", "")), place, options)
        case "cloud_scheduler":
            return f"https://console.cloud.google.com/cloudscheduler/jobs/edit/{region}/{name}?project={place.project}"
        case "pubsub":
            return f"https://console.cloud.google.com/cloudpubsub/subscription/detail/{name}?project={place.project}"
        case "event_hubs":
            return console_url("azure_functions", str(options.get("function", "")), place, options)
        case _ if target in _AZURE:
            group = f"/subscriptions/{place.subscription}/resourceGroups/{place.resource_group}"
            return f"https://portal.azure.com/#resource{group}/providers/{_AZURE[target]}/{name}"
    return ""
