"""Logic Apps and Event Hubs by their operators, whose calls break or fail, one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.azure_events import BREAKS, FAULTS, broken_everywhere, failing_everywhere
from tests.azure_lab import GROUP, LOCATION, MANAGER, SCOPE, SUBSCRIPTION, Lab
from tests.event_sources import Tasks, store
from tests.few import few

from triplane.serverless.events import targets
from triplane.serverless.rest import Api

HUBS = "2024-01-01"
NAMESPACE = f"{SCOPE}/Microsoft.EventHub/namespaces/streaming"
SITE = f"{SCOPE}/Microsoft.Web/sites/shop"
OPTIONS: Mapping[str, dict[str, Any]] = {
    "logic_apps": {"url": "https://example.org/nightly", "every": 900},
    "event_hubs": {
        "function": "shop",
        "trigger": "on_order",
        "stream": "orders",
        "namespace": "streaming",
    },
}
UPDATES: Mapping[str, dict[str, Any]] = {
    "logic_apps": {"retries": 5},
    "event_hubs": {"batch_size": 50, "consumer_group": "$Default"},
}


@pytest.fixture
def tasks(cloud: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[[str], Tasks]:
    store(monkeypatch, tmp_path)
    connection = {"conn_type": "azure", "extra": {"subscriptionId": SUBSCRIPTION}}
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(targets, "_manager", lambda place: Api(cloud, f"https://{MANAGER}", cloud.token))
    assert cloud.arm("PUT", NAMESPACE, {"location": LOCATION, "properties": {}}, HUBS).ok
    assert cloud.arm("PUT", f"{NAMESPACE}/eventhubs/orders", {"properties": {}}, HUBS).ok
    assert cloud.arm("PUT", SITE, {"location": LOCATION, "properties": {}}).ok
    assert cloud.arm("PUT", f"{SITE}/slots/staging", {"location": LOCATION, "properties": {}}).ok
    body = {"properties": {"LOG_LEVEL": "info"}}
    assert cloud.arm("PUT", f"{SITE}/config/appsettings", body).ok
    place = {"region": LOCATION, "resource_group": GROUP}
    return lambda target: Tasks(target, "orders", OPTIONS[target], place)


def left(cloud: Lab) -> tuple[Any, ...]:
    """What is left of streams: settings of the app and its slot, slot settings, consumer groups."""
    settings = [
        cloud.arm("POST", f"{side}/config/appsettings/list").json()["properties"]
        for side in (SITE, f"{SITE}/slots/staging")
    ]
    names = cloud.arm("GET", f"{SITE}/config/slotConfigNames").json()["properties"].get("appSettingNames")
    groups = cloud.arm("GET", f"{NAMESPACE}/eventhubs/orders/consumergroups", version=HUBS).json()["value"]
    return *settings, names or [], [group["name"] for group in groups]


@pytest.mark.parametrize("how", few(BREAKS, ["answer lost"]))
@pytest.mark.parametrize("target", OPTIONS)
def test_it_may_be_killed_anywhere(
    cloud: Lab, tasks: Callable[[str], Tasks], monkeypatch: pytest.MonkeyPatch, target: str, how: str
) -> None:
    broken_everywhere(tasks(target), monkeypatch, how, update=UPDATES[target])
    assert left(cloud) == ({"LOG_LEVEL": "info"}, {}, [], ["$Default"])


@pytest.mark.parametrize("status", few(FAULTS, [503]))
@pytest.mark.parametrize("target", OPTIONS)
def test_the_service_may_fail_anywhere(
    cloud: Lab, tasks: Callable[[str], Tasks], monkeypatch: pytest.MonkeyPatch, target: str, status: int
) -> None:
    one = tasks(target)
    failing_everywhere(one, monkeypatch, cloud, status, "^/subscriptions", update=UPDATES[target])
    one.delete()
    assert left(cloud) == ({"LOG_LEVEL": "info"}, {}, [], ["$Default"])


def test_slots_do_not_read_events(cloud: Lab, tasks: Callable[[str], Tasks]) -> None:
    one = tasks("event_hubs")
    one.deploy()
    production, slot, names, groups = left(cloud)
    assert production.pop("LOG_LEVEL") == "info"
    switch = "AzureWebJobs.on_order.Disabled"
    assert (production[switch], slot[switch]) == ("false", "true")
    assert {**slot, switch: "false"} == production
    assert sorted(names) == sorted(production)
    assert groups == ["$Default", "orders"]

    cloud.arm("PUT", f"{SITE}/slots/staging/config/appsettings", {"properties": {**slot, switch: "false"}})
    assert one.plan()["lines"] == ["slots: read too -> disabled"]
    one.deploy()
    assert left(cloud)[1][switch] == "true"
    cloud.arm("PUT", f"{SITE}/config/slotConfigNames", {"properties": {"appSettingNames": ["OTHER"]}})
    assert one.drift()["state"] == "drifted"
    one.deploy()
    assert sorted(left(cloud)[2]) == sorted(["OTHER", *production])
    one.delete()
    assert left(cloud)[2] == ["OTHER"]
