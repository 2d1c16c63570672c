"""Event Hubs that a function app reads, through the operators, against the sandbox."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.azure_events import Server
from tests.event_sources import Tasks, life, store
from triplane.clouds import azure
from triplane.sandbox.azure.part import GROUP, LOCATION
from triplane.sandbox.runtime import Sandbox

BATCH = "AzureFunctionsJobHost__extensions__eventHubs__maxEventBatchSize"
SWITCH = "AzureWebJobs.on_order.Disabled"
UPDATE = {"batch_size": 50}


@pytest.fixture(scope="module")
def namespace(sandbox: Sandbox) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in sandbox.environ().items():
            patch.setenv(name, value)
        name = f"ns{uuid.uuid4().hex[:10]}"
        made = {"location": LOCATION, "sku": {"name": "Standard"}, "properties": {}}
        hubs().namespaces.begin_create_or_update(GROUP, name, made).result()
        for hub in ("orders", "payments"):
            hubs().event_hubs.create_or_update(GROUP, name, hub, {"properties": {"partitionCount": 2}})
        yield name


@pytest.fixture
def tasks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, cloud_env: dict[str, str], namespace: str
) -> Iterator[Tasks]:
    store(monkeypatch, tmp_path)
    app = f"f{uuid.uuid4().hex[:10]}"
    apps().begin_create_or_update(GROUP, app, {"location": LOCATION, "properties": {}}).result()
    apps().update_application_settings(GROUP, app, {"properties": {"LOG_LEVEL": "info"}})
    options = {"function": app, "trigger": "on_order", "stream": "orders", "namespace": namespace}
    yield Tasks("event_hubs", f"orders-{app[:6]}", options, {"resource_group": GROUP})
    apps().delete(GROUP, app)


@pytest.fixture
def server(sandbox: Sandbox) -> Server:
    return Server(sandbox)


def hubs() -> Any:
    from azure.mgmt.eventhub import EventHubManagementClient

    return azure.client(EventHubManagementClient, "azure_default")


def apps() -> Any:
    from azure.mgmt.web import WebSiteManagementClient

    return azure.client(WebSiteManagementClient, "azure_default").web_apps


def settings(tasks: Tasks) -> dict[str, str]:
    return dict(apps().list_application_settings(GROUP, tasks.options["function"]).properties)


def change_settings(tasks: Tasks, **values: str) -> None:
    found = {**settings(tasks), **values}
    apps().update_application_settings(GROUP, tasks.options["function"], {"properties": found})


def sticky(tasks: Tasks) -> list[str]:
    found = apps().list_slot_configuration_names(GROUP, tasks.options["function"])
    return sorted(found.properties.app_setting_names or ())


def groups(tasks: Tasks, hub: str = "orders") -> list[str]:
    found = hubs().consumer_groups.list_by_event_hub(GROUP, tasks.options["namespace"], hub)
    return [item.name for item in found if item.name == tasks.name]


def prefix(tasks: Tasks) -> str:
    return tasks.name.upper().replace("-", "_")


def test_the_life_of_a_stream(tasks: Tasks) -> None:
    life(tasks, update=UPDATE, by_hand=lambda: change_settings(tasks, **{BATCH: "7"}), seen=["batch_size"])
    assert settings(tasks) == {"LOG_LEVEL": "info"}
    assert (sticky(tasks), groups(tasks)) == ([], [])


def test_what_the_app_gets(tasks: Tasks) -> None:
    client = "00000000-0000-0000-0000-00000000beef"
    tasks.deploy(batch_size=20, starting_position="earliest", identity=client)
    found, name = settings(tasks), prefix(tasks)
    assert {key: value for key, value in found.items() if not key.startswith("TRIPLANE_STREAM_")} == {
        "LOG_LEVEL": "info",
        f"{name}__fullyQualifiedNamespace": f"{tasks.options['namespace']}.servicebus.windows.net",
        f"{name}__eventHubName": "orders",
        f"{name}__consumerGroup": tasks.name,
        f"{name}__credential": "managedidentity",
        f"{name}__clientId": client,
        SWITCH: "false",
        BATCH: "20",
        "AzureFunctionsJobHost__extensions__eventHubs__initialOffsetOptions__type": "fromStart",
    }
    assert set(sticky(tasks)) == found.keys() - {"LOG_LEVEL"}
    assert groups(tasks) == [tasks.name]
    assert tasks.plan(starting_position="earliest", batch_size=20)["risk"] == "critical"
    tasks.delete()


def test_a_group_that_is_there_already(tasks: Tasks) -> None:
    tasks.deploy()
    tasks.deploy(consumer_group="$Default")
    assert groups(tasks) == []
    assert settings(tasks)[f"{prefix(tasks)}__consumerGroup"] == "$Default"
    with pytest.raises(AirflowFailException, match="there is no consumer group nobody"):
        tasks.deploy(consumer_group="nobody")
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert tasks.plan(consumer_group="$Default")["action"] == "none"
    tasks.delete()
    hubs().consumer_groups.create_or_update(GROUP, tasks.options["namespace"], "orders", tasks.name, {})
    with pytest.raises(AirflowFailException, match="somebody else made a consumer group"):
        tasks.deploy()
    assert groups(tasks) == [tasks.name]
    assert settings(tasks) == {"LOG_LEVEL": "info"}
    hubs().consumer_groups.delete(GROUP, tasks.options["namespace"], "orders", tasks.name)


def test_a_group_that_was_deleted_by_hand_is_seen(tasks: Tasks) -> None:
    tasks.deploy()
    hubs().consumer_groups.delete(GROUP, tasks.options["namespace"], "orders", tasks.name)
    assert tasks.drift()["state"] == "drifted"
    assert tasks.plan()["lines"] == [f"consumer_group: (not set) -> {tasks.name}"]
    tasks.deploy()
    assert groups(tasks) == [tasks.name]
    tasks.delete()


def test_another_hub_and_another_setting(tasks: Tasks) -> None:
    tasks.deploy()
    assert tasks.plan(stream="payments")["action"] == "update"
    tasks.deploy(stream="payments")
    assert (groups(tasks), groups(tasks, "payments")) == ([], [tasks.name])
    moved = tasks.plan(stream="payments", setting="PAID")
    assert (moved["action"], moved["risk"]) == ("replace", "high")
    tasks.deploy(stream="payments", setting="PAID")
    assert not any(key.startswith(prefix(tasks)) for key in settings(tasks))
    assert settings(tasks)["PAID__eventHubName"] == "payments"
    assert groups(tasks, "payments") == [tasks.name]
    assert tasks.plan(stream="payments", setting="PAID")["action"] == "none"
    tasks.options = {**tasks.options, "stream": "payments", "setting": "PAID"}
    tasks.delete()
    assert (settings(tasks), groups(tasks, "payments")) == ({"LOG_LEVEL": "info"}, [])


def test_two_streams_share_what_is_host_wide(tasks: Tasks) -> None:
    tasks.deploy(batch_size=20)
    other = Tasks("event_hubs", f"{tasks.name}-2", {**tasks.options, "trigger": "on_pay"}, tasks.place)
    with pytest.raises(AirflowFailException, match="holds for all Event Hubs triggers"):
        other.plan(batch_size=30)
    with pytest.raises(AirflowFailException, match="each stream needs one of its own"):
        other.plan(trigger="on_order")
    with pytest.raises(AirflowFailException, match="give another `setting`"):
        other.plan(setting=prefix(tasks))
    other.deploy()
    assert other.plan()["action"] == "none"
    assert tasks.drift(batch_size=20)["state"] == "in_sync"
    other.delete()
    assert tasks.plan(batch_size=20)["action"] == "none"
    assert tasks.drift(batch_size=20)["state"] == "in_sync"
    tasks.delete()
    assert settings(tasks) == {"LOG_LEVEL": "info"}


def test_an_update_that_fails_is_rolled_back(tasks: Tasks, server: Server) -> None:
    tasks.deploy(batch_size=20)
    before = settings(tasks)
    options = {"stream": "payments", "batch_size": 50}
    app = tasks.options["function"]
    for lost in (False, True):
        change = tasks.plan(**options)
        server.fault(path=f"{app}/config/appsettings$", method="PUT", status=400, message="No.", lost=lost)
        with pytest.raises(AirflowFailException, match=r"No\."):
            tasks.apply(change, **options)
        assert tasks.pushed[-1]["state"] == "rolled_back"
        assert settings(tasks) == before
        assert (groups(tasks), groups(tasks, "payments")) == ([tasks.name], [])
    with pytest.raises(AirflowFailException, match="eventhubs/nothing"):
        tasks.deploy(stream="nothing")
    assert tasks.pushed[-1]["state"] == "rolled_back"
    assert settings(tasks) == before
    tasks.delete()


def test_there_must_be_an_app(tasks: Tasks) -> None:
    assert tasks.plan(function="nowhere")["action"] == "create"
    with pytest.raises(AirflowFailException, match="deploy it first"):
        tasks.deploy(function="nowhere")
    assert groups(tasks) == []
