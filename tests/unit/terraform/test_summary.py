"""What people read of a plan, over generated plans of any size."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.core.change import Risk
from triplane.core.errors import InputError
from triplane.terraform.plan import Plan, parse_plan, sensitive_values
from triplane.terraform.risk import resource_risk, risk
from triplane.terraform.summary import EACH, change_lines, irreversible

ACTIONS = {
    "create": ["create"],
    "update": ["update"],
    "replace": ["delete", "create"],
    "destroy": ["delete"],
    "forget": ["forget"],
    "read": ["read"],
    "none": ["no-op"],
}
KINDS = (
    "aws_vpc",
    "aws_s3_bucket",
    "aws_iam_role",
    "google_sql_database_instance",
    "terraform_data",
    "null_resource",
)
SECRET = "planted-Secret-0815"


def change(kind: str, action: str, index: int, secret: bool) -> dict[str, Any]:
    before = {"name": f"n{index}", "value": SECRET if secret else "plain"}
    after = {"name": f"m{index}", "value": SECRET + "2" if secret else "plain"}
    marks = {"value": True} if secret else {}
    return {
        "address": f"{kind}.x[{index}]",
        "type": kind,
        "change": {
            "actions": ACTIONS[action],
            "before": None if action == "create" else before,
            "after": None if action == "destroy" else after,
            "after_unknown": {},
            "before_sensitive": marks,
            "after_sensitive": marks,
        },
    }


changes = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(list(ACTIONS)), st.booleans()), max_size=120
).map(lambda found: [change(kind, action, i, secret) for i, (kind, action, secret) in enumerate(found)])


def plan_of(items: list[dict[str, Any]]) -> Plan:
    return parse_plan({"format_version": "1.2", "resource_changes": items})


@given(changes)
def test_what_destroys_is_always_named_and_comes_before_what_is_harmless(items: list[dict[str, Any]]) -> None:
    lines = change_lines(plan_of(items))
    for item in items:
        if "delete" in item["change"]["actions"]:
            assert any(item["address"] in line for line in lines)
    risks = [
        resource_risk(found) for line in lines for found in plan_of(items).resources if found.line() == line
    ]
    assert risks == sorted(risks, reverse=True)


@given(changes)
def test_every_change_is_counted(items: list[dict[str, Any]]) -> None:
    plan = plan_of(items)
    counted = 0
    for line in change_lines(plan):
        number = line.split()[1]
        counted += int(number) if number.isdigit() else 1
    assert counted == len(plan.resources) == sum(item["change"]["actions"] != ["no-op"] for item in items)


@given(changes)
def test_no_sensitive_value_is_shown(items: list[dict[str, Any]]) -> None:
    document = {"format_version": "1.2", "resource_changes": items}
    plan = parse_plan(document)
    assert SECRET not in " ".join(change_lines(plan))
    assert SECRET not in repr(plan)
    hidden = sensitive_values(document)
    assert hidden <= {SECRET, SECRET + "2"}


@given(changes, changes)
def test_more_changes_are_never_less_risk(items: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    assert risk(plan_of(items + more)) == max(risk(plan_of(items)), risk(plan_of(more)))


def test_500_resources_are_a_page() -> None:
    items = [change("aws_route53_record", "create", i, False) for i in range(480)]
    items += [change("aws_s3_bucket", "destroy", i, False) for i in range(20)]
    lines = change_lines(plan_of(items))
    assert len(lines) == 21
    assert lines[0] == "- aws_s3_bucket.x[0]"
    assert lines[20].startswith("+ 480 aws_route53_record: aws_route53_record.x[0], ")
    assert lines[20].endswith(" and 477 more")
    assert len(change_lines(plan_of(items[:EACH]))) == EACH


def test_moves_and_imports() -> None:
    moved = change("aws_vpc", "none", 0, False) | {"previous_address": "aws_vpc.old"}
    imported = change("aws_vpc", "none", 1, False)
    imported["change"]["importing"] = {"id": "vpc-1"}
    plan = plan_of([moved, imported])
    assert plan.summary() == "1 to import, 1 to move"
    assert (risk(plan), plan.action) == (Risk.LOW, "update")
    assert change_lines(plan) == (
        "=> aws_vpc.x[0]: moved from aws_vpc.old",
        "& aws_vpc.x[1]: import vpc-1",
    )


def test_what_cannot_be_undone() -> None:
    items = [
        change("aws_s3_bucket", "destroy", 0, False),
        change("aws_vpc", "destroy", 1, False),
        change("aws_db_instance", "create", 2, False),
    ]
    lost = "! aws_s3_bucket.x[0]: its data is lost, and no rollback brings it back"
    assert irreversible(plan_of(items)) == (lost,)
    empty = "! aws_db_instance.x[2] comes back empty: its data is not restored"
    assert irreversible(plan_of(items), rollback=True) == (lost, empty)


@pytest.mark.parametrize("version", [None, "0.2", "2.0", "none"])
def test_an_unknown_format_is_refused(version: str | None) -> None:
    with pytest.raises(InputError, match=r"is in format .*, known is 1\.x"):
        parse_plan({"format_version": version, "resource_changes": []})
