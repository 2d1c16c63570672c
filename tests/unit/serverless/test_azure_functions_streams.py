"""A function app that reads Event Hubs is deployed anew: its streams stay, and no slot reads events."""

from __future__ import annotations

from typing import Any

import pytest
from tests.azure_lab import LOCATION, SCOPE, SUBSCRIPTION, Lab
from tests.function_packages import UNIMPORTABLE
from tests.serverless_rounds import deployed, run
from tests.unit.serverless.test_azure_functions import (
    APP,
    ONE,
    RUNTIME,
    TWO,
    Make,
    Store,
    answer,
    make,
    of,
    other,
    settings,
    store,
)

from triplane.core.errors import InputError
from triplane.serverless.azure import stream_settings
from triplane.serverless.azure.event_hubs import EventHubs
from triplane.serverless.events.source import Done, Wanted, differing
from triplane.serverless.rest import Api
from triplane.serverless.target import difference

__all__ = ["make", "store"]

NAMESPACE = f"{SCOPE}/Microsoft.EventHub/namespaces/streaming"
HUB = f"{NAMESPACE}/eventhubs/orders"
SWITCH = "AzureWebJobs.on_order.Disabled"


@pytest.fixture
def hubs(cloud: Lab) -> EventHubs:
    version = "2024-01-01"
    assert cloud.arm("PUT", NAMESPACE, {"location": LOCATION, "properties": {}}, version).ok
    assert cloud.arm("PUT", HUB, {"properties": {}}, version).ok
    manager = Api(cloud, "https://management.azure.com", cloud.token)
    return EventHubs(manager, subscription=SUBSCRIPTION, resource_group="streaming")


def wanted(hubs: EventHubs, **options: Any) -> Wanted:
    given = {"function": "app", "trigger": "on_order", "stream": HUB, "batch_size": 20, **options}
    return Wanted(name="orders", settings=hubs.settings("orders", given))


def streaming(hubs: EventHubs, one: Wanted) -> None:
    assert isinstance(hubs.apply(one, hubs.observe(one), lambda line: None), Done)
    assert in_place(hubs, one)


def in_place(hubs: EventHubs, one: Wanted) -> bool:
    found = hubs.observe(one)
    return found is not None and differing(one, found) == []


def test_a_new_version_keeps_the_stream_through_slots(cloud: Lab, make: Make, hubs: EventHubs) -> None:
    desired = of(ONE)
    first = deployed(make, desired)
    one = wanted(hubs)
    streaming(hubs, one)
    kept = stream_settings.of(settings(cloud))
    seen = make().observe("app")
    assert seen is not None
    assert difference(desired, seen) == ()

    switches: list[str | None] = []

    def look(attempt: Any) -> None:
        slot = cloud.arm("GET", f"{APP}/slots/staging")
        if slot.ok:
            switches.append(settings(cloud, f"{APP}/slots/staging").get(SWITCH))
        assert settings(cloud)[SWITCH] == "false"

    second = deployed(make, other(desired, 2, TWO), between=look)
    assert set(switches) == {"true"}
    assert (answer(cloud), second.version != first.version) == ("two hello", True)
    assert stream_settings.of(settings(cloud)) == kept
    assert settings(cloud, f"{APP}/slots/staging")[SWITCH] == "true"
    assert in_place(hubs, one)
    assert difference(other(desired, 2, TWO), second) == ()

    attempt = run(make, other(desired, 3, UNIMPORTABLE), second, between=look)
    assert attempt.failed
    assert answer(cloud) == "two hello"
    assert stream_settings.of(settings(cloud)) == kept
    assert in_place(hubs, one)


def test_a_stream_whose_settings_a_swap_would_carry_over(cloud: Lab, make: Make, hubs: EventHubs) -> None:
    desired = of(ONE)
    deployed(make, desired)
    one = wanted(hubs)
    streaming(hubs, one)
    kept = stream_settings.of(settings(cloud))
    names = f"{APP}/config/slotConfigNames"
    assert cloud.arm("PUT", names, {"properties": {"appSettingNames": []}}).ok
    assert difference(desired, make().observe("app")) == ()  # type: ignore[arg-type]
    deployed(make, other(desired, 2, TWO))
    assert answer(cloud) == "two hello"
    assert stream_settings.of(settings(cloud)) == kept
    assert in_place(hubs, one)


def test_a_new_version_in_place_keeps_the_stream(
    cloud: Lab, make: Make, hubs: EventHubs, store: Store
) -> None:
    options = {**RUNTIME, "slot": "none"}
    desired = of(ONE, options=options)
    store.keep(ONE)
    deployed(make, desired)
    one = wanted(hubs)
    streaming(hubs, one)
    kept = stream_settings.of(settings(cloud))
    second = deployed(make, other(desired, 2, TWO))
    assert stream_settings.of(settings(cloud)) == kept
    assert in_place(hubs, one)

    changed = wanted(hubs, batch_size=50)
    done: list[bool] = []

    def meanwhile(attempt: Any) -> None:
        """Somebody changes the stream once the deployment has noted what served before."""
        if attempt.phase != "watch" and f"{3:016x}" in settings(cloud)["TRIPLANE_STAMP"] and not done:
            done.append(True)
            streaming(hubs, changed)

    attempt = run(make, other(desired, 3, UNIMPORTABLE), second, between=meanwhile)
    assert attempt.failed
    assert done
    assert answer(cloud) == "two hello"
    assert in_place(hubs, changed)


def test_the_environment_must_leave_a_stream_alone(make: Make, hubs: EventHubs) -> None:
    desired = of(ONE)
    first = deployed(make, desired)
    streaming(hubs, wanted(hubs))
    clash = other(desired, 2, TWO, environment={"ORDERS__eventHubName": "payments"})
    with pytest.raises(InputError, match="ORDERS__eventHubName"):
        make().prepare(clash, first, lambda line: None)
