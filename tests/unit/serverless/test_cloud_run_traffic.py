from __future__ import annotations

from typing import Any

import pytest
from google.cloud import run_v2

from triplane.serverless.google import cloud_run_traffic as traffic
from triplane.serverless.target import Observed


def service(*targets: tuple[str, int]) -> run_v2.Service:
    statuses = [{"revision": name, "percent": percent} for name, percent in targets]
    return run_v2.Service(traffic_statuses=statuses, latest_ready_revision="x/revisions/web-2")


@pytest.mark.parametrize(
    ("targets", "version"),
    [
        ([], ""),
        ([("web-1", 100)], "web-1"),
        ([("web-1", 100), ("web-2", 0)], "web-1"),
        ([("", 100)], "web-2"),
        ([("web-1", 10), ("web-2", 90)], "web-2=90,web-1=10"),
        ([("web-2", 50), ("", 50)], "web-2"),
    ],
)
def test_version_of(targets: list[tuple[str, int]], version: str) -> None:
    assert traffic.version_of(service(*targets)) == version


@pytest.mark.parametrize("version", ["web-1", "web-2=90,web-1=10"])
def test_traffic_of_is_the_inverse(version: str) -> None:
    made = traffic.traffic_of(version)
    assert sum(target["percent"] for target in made) == 100
    assert traffic.version_of(service(*((each["revision"], each["percent"]) for each in made))) == version


@pytest.mark.parametrize(
    ("percent", "previous", "shares"),
    [
        (10, "a", {"new": 10, "a": 90}),
        (100, "a", {"new": 100}),
        (10, "", {"new": 100}),
        (50, "a=90,b=10", {"new": 50, "a": 45, "b": 5}),
        (33, "a=34,b=33,c=33", {"new": 33, "a": 23, "b": 22, "c": 22}),
        (99, "a=50,b=50", {"new": 99, "a": 1}),
        (20, "new=60,a=40", {"new": 20, "a": 80}),
    ],
)
def test_what_the_others_get(percent: int, previous: str, shares: dict[str, int]) -> None:
    found = traffic.shared("new", percent, Observed(version=previous))
    assert found == shares
    assert sum(found.values()) == 100


def test_tags_of_others_stay() -> None:
    given: list[dict[str, Any]] = [
        {"revision": "a", "percent": 100},
        {"revision": "b", "tag": "green"},
        {"revision": "c", "tag": "t0123abcd"},
    ]
    found = traffic.foreign_tags(
        run_v2.Service(traffic=[{"type_": traffic.REVISION, **each} for each in given])
    )
    assert [each["tag"] for each in found] == ["green"]


def test_a_tag_needs_room() -> None:
    assert traffic.tag_for("0123456789abcdef", "w" * 37) == "t01234567"
    assert traffic.tag_for("0123456789abcdef", "w" * 38) == ""


def test_the_latest_is_the_same_whichever_it_is() -> None:
    latest = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    status = run_v2.TrafficTargetStatus(type_=latest, revision="web-2", tag="green")
    wanted = [{"type_": latest, "revision": "", "percent": 0, "tag": "green"}]
    assert traffic.same([status], wanted)
    assert not traffic.same([], wanted)
