"""What serves against what was deployed, without any cloud."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from triplane.core.drift import judge, memory
from triplane.serverless.drift import findings, images, keep, pending
from triplane.serverless.target import Desired, Observed

DEPLOYED = Observed(
    version="3",
    artifact="sha256:a",
    config="sha256:c",
    environment={"TOKEN": "s3cr3t-value", "LEVEL": "info"},
    options={"memory": 128, "timeout": 30},
)


def found(**changes: Any) -> list[tuple[str, str, str]]:
    (item,) = findings("webhook", keep(DEPLOYED), replace(DEPLOYED, **changes)) or ({"attributes": []},)
    return [(a["name"], a["before"], a["after"]) for a in item["attributes"]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"version": "2"}, [("version that serves", "3", "2")]),
        ({"version": "3=90,2=10", "config": None}, [("version that serves", "3", "3=90,2=10")]),
        ({"artifact": "sha256:b"}, [("code", "sha256:a", "sha256:b")]),
        ({"config": None}, [("deployment", "sha256:c", "by somebody else")]),
        ({"options": {"memory": 256, "timeout": 30}}, [("memory", "128", "256")]),
        ({"options": {"memory": 128}}, [("timeout", "30", "(nothing)")]),
        (
            {"environment": {"TOKEN": "another", "LEVEL": "info", "NEW": "x"}},
            [("environment NEW", "(nothing)", "***"), ("environment TOKEN", "***", "***")],
        ),
    ],
)
def test_findings(changes: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert found(**changes) == expected


def test_what_is_kept_and_told_holds_no_value_of_the_environment() -> None:
    kept = keep(DEPLOYED)
    assert "s3cr3t-value" not in json.dumps(kept)
    assert kept["environment"] != keep(DEPLOYED)["environment"], "the salt is another one each time"
    assert found(environment={}) != []


def test_a_second_change_of_a_hidden_value_is_another_finding() -> None:
    kept = keep(DEPLOYED)
    checks = [
        judge("a", findings("f", kept, replace(DEPLOYED, environment={"TOKEN": value, "LEVEL": "info"})))
        for value in ("x-value", "y-value", "y-value")
    ]
    first, second, third = (list(memory(check)["findings"]) for check in checks)
    assert first != second == third


def test_a_function_that_is_gone() -> None:
    (item,) = findings("webhook", keep(DEPLOYED), None)
    assert (item["address"], item["action"]) == ("function webhook", "delete")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"artifact": "sha256:b"}, "code changed in the source"),
        ({"artifact": "sha256:b", "config": "d"}, "code and configuration changed in the source"),
    ],
)
def test_pending(changes: dict[str, Any], expected: str) -> None:
    desired = Desired(**{"name": "f", "artifact": "sha256:a", "config": "sha256:c", **changes})
    assert pending(keep(DEPLOYED), desired) == expected


def test_a_setting_that_the_spec_leaves_to_the_cloud_is_an_unmanaged_change() -> None:
    kept = keep(DEPLOYED)
    both = replace(DEPLOYED, options={"memory": 256, "timeout": 60})
    found = findings("f", kept, both, {"memory"})
    names = [(item.get("unmanaged", False), [a["name"] for a in item["attributes"]]) for item in found]
    assert names == [(False, ["memory"]), (True, ["timeout"])]
    assert judge("a", found).state == "drifted"
    only = findings("f", kept, replace(DEPLOYED, options={"memory": 128, "timeout": 60}), {"memory"})
    assert judge("a", only).state == "unmanaged_change"


def test_images_that_serve() -> None:
    kept = keep(replace(DEPLOYED, artifact="registry:5000/team/api:v1@sha256:a"))
    now = replace(DEPLOYED, artifact="registry:5000/team/api@sha256:b")
    assert images(kept, now) == [{"image": "api", "deployed": "sha256:a", "serving": ["sha256:b"]}]
    assert images(kept, None)[0]["serving"] == []
    assert images(keep(DEPLOYED), DEPLOYED) == [], "it runs a package"
