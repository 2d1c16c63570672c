from __future__ import annotations

from typing import Any

import pytest

from triplane.sandbox.providers.planning import plan, settle
from triplane.sandbox.providers.schema import Block, Body

UNKNOWN = object()
BODY = Body(
    {
        "id": "optional computed string",
        "name": "required string replace",
        "public": "optional bool default=true",
        "password": "optional string sensitive",
        "policy": "optional string json",
        "subnets": "optional set(string)",
        "tags": "optional map(string)",
        "tags_all": "optional computed map(string) copies=tags",
        "version": "optional computed string",
        "version_actual": "computed string after=version",
    },
    {"network": Block({"cidr": "required string", "gateway": "computed string"}, replace=True)},
)
EMPTY: dict[str, Any] = dict.fromkeys(BODY.attributes) | {"network": []}
CONFIG = EMPTY | {"name": "a", "tags": {"k": "v"}, "subnets": ["x", "y"], "policy": '{"a": 1}'}
STATE = CONFIG | {"id": "1", "tags_all": {"k": "v"}, "version": "1", "version_actual": "1.2"}


def test_everything_that_the_cloud_decides_is_unknown_at_first() -> None:
    config = CONFIG | {"network": [{"cidr": "10.0.0.0/8", "gateway": None}]}
    planned, replaced = plan(BODY, None, config, config, UNKNOWN)
    unknown = {name for name, value in planned.items() if value is UNKNOWN}
    assert unknown == {"id", "version", "version_actual"}
    assert planned["tags_all"] == {"k": "v"}
    assert planned["network"] == [{"cidr": "10.0.0.0/8", "gateway": UNKNOWN}]
    assert replaced == []


def test_nothing_changes_without_a_reason() -> None:
    proposed = STATE | {"subnets": ["y", "x"], "policy": '{ "a":1 }'}
    assert plan(BODY, STATE, proposed, CONFIG, UNKNOWN) == (STATE, [])


@pytest.mark.parametrize(
    ("change", "planned", "replaced"),
    [
        ({"tags": {"k": "w"}}, {"tags": {"k": "w"}, "tags_all": {"k": "w"}}, []),
        ({"tags": None}, {"tags": None, "tags_all": {}}, []),
        ({"version": "2"}, {"version": "2", "version_actual": UNKNOWN}, []),
        ({"name": "b"}, {"name": "b"}, ["name"]),
        ({"name": UNKNOWN}, {"name": UNKNOWN}, ["name"]),
        ({"subnets": ["x"]}, {"subnets": ["x"]}, []),
        (
            {"network": [{"cidr": "10.0.0.0/8", "gateway": None}]},
            {"network": [{"cidr": "10.0.0.0/8", "gateway": UNKNOWN}]},
            ["network"],
        ),
    ],
)
def test_a_change(change: dict[str, Any], planned: dict[str, Any], replaced: list[str]) -> None:
    found = plan(BODY, STATE, STATE | change, CONFIG | change, UNKNOWN)
    assert found == (STATE | planned, replaced)


@pytest.mark.parametrize("observed", [{"public": True}, {"policy": ""}, {"subnets": []}])
def test_a_default_that_nobody_asked_for_is_no_drift(observed: dict[str, Any]) -> None:
    assert settle(BODY, EMPTY, observed) == EMPTY


def test_a_switch_turned_off_behind_our_back_is_drift() -> None:
    assert settle(BODY, STATE, {"public": False})["public"] is False


@pytest.mark.parametrize(
    "observed",
    [
        {"subnets": ["y", "x"]},
        {"policy": '{"a":1}'},
        {},  # a password is not told
        {"network": [{"cidr": "10.0.0.0/8", "gateway": "10.0.0.1"}]},  # and not asked for
    ],
)
def test_what_means_the_same_is_no_drift(observed: dict[str, Any]) -> None:
    assert settle(BODY, STATE, observed) == STATE


def test_drift_shows() -> None:
    state = STATE | {"network": [{"cidr": "10.0.0.0/8", "gateway": "10.0.0.1"}]}
    observed = {"tags": {}, "tags_all": {}, "network": [{"cidr": "10.1.0.0/16", "gateway": "10.1.0.1"}]}
    found = settle(BODY, state, observed)
    assert {name for name in state if state[name] != found[name]} == {"tags", "tags_all", "network"}
