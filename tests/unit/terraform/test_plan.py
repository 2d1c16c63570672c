from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triplane.core.change import Risk
from triplane.core.errors import InputError
from triplane.core.redact import Redactor
from triplane.terraform.plan import Plan, State, parse_plan, parse_state, planned_state, sensitive_values
from triplane.terraform.risk import ceiling, holds_data, is_iam, risk
from triplane.terraform.summary import change_lines

DATA = Path(__file__).with_name("data")
OLD, NEW = "hunter2hunter2", "correct-horse-battery"


def document(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return loaded


@pytest.mark.parametrize(
    ("name", "action", "summary", "level"),
    [
        ("create", "create", "4 to add", Risk.LOW),
        ("no_changes", "none", "no changes", Risk.NONE),
        ("change", "replace", "2 to change, 1 to destroy, 1 to replace", Risk.HIGH),
        ("destroy", "destroy", "4 to destroy", Risk.HIGH),
    ],
)
def test_real_plans(name: str, action: str, summary: str, level: Risk) -> None:
    plan = parse_plan(document(name))
    assert (plan.action, plan.summary(), risk(plan)) == (action, summary, level)


def test_lines_name_what_changes_and_what_forces_a_replace() -> None:
    lines = change_lines(parse_plan(document("change")))
    assert lines[0] == "- terraform_data.extra[0]"
    assert lines[1].startswith("-/+ terraform_data.cluster: triggers_replace forces replacement; ")
    assert lines[2].startswith("~ terraform_data.database: input.password (sensitive) -> (sensitive); ")
    assert 'input.size "small" -> "large"; input.tags.1 "small" -> "large"' in lines[3]
    assert lines[4:] == ("~ output password", "~ output size")


@pytest.mark.parametrize("name", ["create", "change", "destroy"])
def test_no_sensitive_value_is_shown(name: str) -> None:
    found = sensitive_values(document(name))
    assert found & {OLD, NEW}
    plan = parse_plan(document(name), Redactor(found))
    assert OLD not in repr(plan)
    assert NEW not in repr(plan)


def resource(actions: list[str], kind: str = "aws_vpc", **change: Any) -> dict[str, Any]:
    changed = {"actions": actions, "before": {}, "after": {}, "after_unknown": {}, **change}
    return {"address": f"{kind}.x", "type": kind, "change": changed}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"before": {"a": 1}, "after": {"a": 2}}, "~ aws_vpc.x: a 1 -> 2"),
        ({"before": {"a": 1}, "after": {}, "after_unknown": {"a": True}}, "a 1 -> (known after apply)"),
        (
            {"before": {"a": 1}, "after": {"a": 1}, "after_sensitive": {"a": True}},
            "a (sensitive) -> (sensitive)",
        ),
        (
            {"before": {"a": {"b": "x"}}, "before_sensitive": {"a": {"b": True}}, "after": {"a": None}},
            "a (sensitive) -> (sensitive)",
        ),
        ({"before": {"password": "abcd"}, "after": {"password": "efgh"}}, 'password "***" -> "***"'),
        ({"before": {"t": ["a"]}, "after": {"t": ["a", "b"]}}, 't.1 null -> "b"'),
        ({"before": {"a": "x" * 200}, "after": {"a": "y"}}, "x" * 78 + '… -> "y"'),
    ],
)
def test_attributes(change: dict[str, Any], line: str) -> None:
    plan = parse_plan({"format_version": "1.2", "resource_changes": [resource(["update"], **change)]})
    assert line in change_lines(plan)[0]


def test_output_changes_alone_are_a_low_update() -> None:
    plan = parse_plan(
        {
            "format_version": "1.2",
            "output_changes": {"id": {"actions": ["create"]}, "old": {"actions": ["no-op"]}},
        }
    )
    assert (plan.action, plan.summary(), risk(plan)) == ("update", "1 output to change", Risk.LOW)


@pytest.mark.parametrize(
    ("kind", "actions", "level"),
    [
        ("aws_vpc", ["create"], Risk.LOW),
        ("aws_vpc", ["update"], Risk.MEDIUM),
        ("aws_vpc", ["delete", "create"], Risk.HIGH),
        ("aws_vpc", ["create", "delete"], Risk.HIGH),
        ("aws_vpc", ["delete"], Risk.HIGH),
        ("aws_vpc", ["forget"], Risk.MEDIUM),
        ("aws_vpc", ["no-op"], Risk.NONE),
        ("aws_caller_identity", ["read"], Risk.NONE),
        ("aws_db_instance", ["create"], Risk.LOW),
        ("aws_db_instance", ["update"], Risk.MEDIUM),
        ("aws_db_instance", ["delete", "create"], Risk.CRITICAL),
        ("google_sql_database_instance", ["delete"], Risk.CRITICAL),
        ("azurerm_postgresql_flexible_server", ["delete"], Risk.CRITICAL),
        ("azurerm_resource_group", ["delete"], Risk.CRITICAL),
        ("aws_iam_role", ["create"], Risk.CRITICAL),
        ("google_project_iam_member", ["update"], Risk.CRITICAL),
        ("azurerm_role_assignment", ["delete"], Risk.CRITICAL),
    ],
)
def test_risk(kind: str, actions: list[str], level: Risk) -> None:
    assert risk(parse_plan({"format_version": "1.2", "resource_changes": [resource(actions, kind)]})) == level


def invocation(**more: Any) -> dict[str, Any]:
    values = {"config_values": {"body": OLD, "to": "all"}, "config_sensitive": {"body": True}}
    return {"address": "action.aws_lambda_invoke.warm", "type": "aws_lambda_invoke", **values, **more}


@pytest.mark.parametrize(
    ("trigger", "line"),
    [
        ({"invoke_action_trigger": {}}, "> action.aws_lambda_invoke.warm"),
        (
            {
                "lifecycle_action_trigger": {
                    "triggering_resource_address": "aws_vpc.x",
                    "action_trigger_event": "AfterCreate",
                }
            },
            "> action.aws_lambda_invoke.warm: AfterCreate of aws_vpc.x",
        ),
    ],
)
def test_an_action_is_shown_and_of_high_risk(trigger: dict[str, Any], line: str) -> None:
    document = {"format_version": "1.2", "action_invocations": [invocation(**trigger)]}
    plan = parse_plan(document)
    assert (plan.action, plan.summary(), risk(plan)) == ("update", "1 to invoke", Risk.HIGH)
    assert change_lines(plan) == (line,)
    assert sensitive_values(document) == {OLD}


@pytest.mark.parametrize(
    ("importing", "text"),
    [
        ({"id": "vpc-1"}, "vpc-1"),
        ({"identity": {"region": "r", "name": "n"}}, "region=r, name=n"),
        ({"unknown": True}, "(known after apply)"),
        ({}, "(known after apply)"),
    ],
)
def test_what_is_imported_need_not_have_an_id(importing: dict[str, Any], text: str) -> None:
    changes = [resource(["no-op"], importing=importing)]
    plan = parse_plan({"format_version": "1.2", "resource_changes": changes})
    assert change_lines(plan) == (f"& aws_vpc.x: import {text}",)


@pytest.mark.parametrize(
    ("actions", "said"),
    [(["teleport"], "teleport"), (["create", "teleport"], "create and teleport"), ([], "do nothing known")],
)
def test_an_unknown_action_is_refused(actions: list[str], said: str) -> None:
    with pytest.raises(
        InputError, match=f"^aws_vpc.x: the plan would {said}, and what that does is not known"
    ):
        parse_plan({"format_version": "1.9", "resource_changes": [resource(actions)]})


def test_data_and_iam_types() -> None:
    for name in ("aws_s3_bucket", "aws_eks_cluster", "aws_kms_key", "google_container_cluster"):
        assert holds_data(name)
        assert not is_iam(name)
    for name in ("aws_s3_bucket_policy", "aws_iam_role_policy_attachment", "google_service_account"):
        assert is_iam(name)
    assert not is_iam("aws_autoscaling_policy")
    assert not holds_data("aws_subnet")


def test_ceiling() -> None:
    assert ceiling({"aws_vpc"}, empty=True) == Risk.LOW
    assert ceiling({"aws_vpc", "aws_iam_role"}, empty=True) == Risk.CRITICAL
    assert ceiling({"aws_vpc", "aws_iam_role"}, empty=False) == Risk.MEDIUM


def test_state() -> None:
    assert parse_state("") == State()
    text = json.dumps(
        {
            "version": 4,
            "lineage": "l",
            "serial": 7,
            "outputs": {"a": {"value": 1}, "b": {"value": "x", "sensitive": True}},
            "resources": [
                {
                    "mode": "managed",
                    "type": "a_b",
                    "name": "c",
                    "instances": [{"index_key": 0}, {"index_key": "k"}],
                },
                {"mode": "managed", "module": "module.m[1]", "type": "a_b", "name": "d", "instances": [{}]},
                {"mode": "data", "type": "a_b", "name": "c", "instances": [{}]},
            ],
        }
    )
    state = parse_state(text)
    assert (state.lineage, state.serial, state.empty) == ("l", 7, False)
    assert state.addresses == {"a_b.c[0]", 'a_b.c["k"]', "module.m[1].a_b.d"}
    assert state.outputs == {"a": 1, "b": "x"}
    assert state.sensitive == {"b"}


def test_a_plan_that_is_no_zip_has_no_readable_state(tmp_path: Path) -> None:
    (tmp_path / "plan").write_bytes(b"encrypted")
    assert planned_state(tmp_path / "plan") is None


def test_nothing_at_all() -> None:
    assert parse_plan({"format_version": "1.0"}) == Plan(no_state=True)
