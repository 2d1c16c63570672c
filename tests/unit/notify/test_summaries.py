"""However much has drifted, it is one message that can be read."""

from __future__ import annotations

from typing import Any

from triplane.notify.summaries import GROUPS, drift_messages


def component(address: str, *resources: tuple[str, str], cured: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "address": address,
        "state": "drifted" if resources else "in_sync",
        "resources": [
            {"address": name, "action": "update", "attributes": [{"name": attribute}]}
            for name, attribute in resources
        ],
        "cured": list(cured),
    }


def test_three_hundred_drifts_are_one_message() -> None:
    components = [
        component(
            f"aws/stack/s{number}", (f'module.net["a.b"].aws_vpc.main[{number}]', "tags"), ("x.y", "size")
        )
        for number in range(150)
    ]
    (message,) = drift_messages(components, environment="prod", thread="r1", link="https://a/b")
    assert message.event == "drift_found"
    assert message.subject == "Drift in prod: 300 differences in 150 components"
    first, second = message.text.splitlines()
    assert first.startswith('- **aws aws_vpc: tags**: 150: `module.net["a.b"].aws_vpc.main[0]`, ')
    assert first.endswith(" and 145 more")
    assert second.startswith("- **aws x: size**: 150: ")
    assert (message.thread, message.link) == ("r1", "https://a/b")


def test_drift_that_was_told_before_is_told_again_with_something_new() -> None:
    known = component("aws/stack/a", ("aws_vpc.main", "tags"), ("aws_vpc.other", "tags"))
    for resource in known["resources"]:
        resource |= {"first_seen": "2026-11-26T06:00", "last_seen": "2026-11-27T06:00"}
    assert drift_messages([known], environment="prod") == []
    known["resources"][0]["first_seen"] = "2026-11-27T06:00"
    (message,) = drift_messages([known], environment="prod")
    assert message.subject == "Drift in prod: 2 differences in 1 component, 1 of them new"


def test_many_groups_are_counted() -> None:
    resources = [(f"aws_thing_{number}.main", "size") for number in range(60)]
    (message,) = drift_messages([component("aws/stack/s", *resources)], environment="prod")
    assert message.subject == "Drift in prod: 60 differences in 1 component"
    assert message.text.splitlines()[GROUPS:] == ["- and 40 groups more with 40 differences"]


def test_what_is_gone_and_what_is_not_told() -> None:
    components = [
        component("gcp/stack/s", cured=("google_storage_bucket.a",)),
        component("aws/chart/c", ("deployment shop/api", "spec.replicas")),
    ]
    found, cured = drift_messages(components, environment="prod")
    assert found.text == "- **aws deployment: spec.replicas**: `deployment shop/api`"
    assert (cured.event, cured.text) == ("drift_cured", "- **gcp**: google_storage_bucket.a")
    assert drift_messages([component("aws/stack/s")], environment="prod") == []
