"""Real drift, noise, what is ignored, and what is only pending."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from triplane.core.drift import Check, Ignore, memory, unknown
from triplane.terraform.drift import judge
from triplane.terraform.plan import AttributeChange, Plan, ResourceChange, parse_plan

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
ADDRESS = "aws/stack/network"


def changed(
    *attributes: tuple[str, str, str], address: str = "aws_vpc.main[0]", action: Any = "update"
) -> ResourceChange:
    return ResourceChange(
        address=address,
        type="aws_vpc",
        action=action,
        attributes=tuple(AttributeChange(*attribute) for attribute in attributes),
    )


def look(*drift: ResourceChange, resources: tuple[ResourceChange, ...] | None = None, **more: Any) -> Check:
    """What a plan says that puts back what drifted, unless ``resources`` are given."""
    if resources is None:
        resources = tuple(changed(*back(item), address=item.address, action=repair(item)) for item in drift)
    return judge(ADDRESS, Plan(drift=drift, resources=resources), now=NOW, **more)


def back(change: ResourceChange) -> list[tuple[str, str, str]]:
    return [(item.name, item.after, item.before) for item in change.attributes]


def repair(change: ResourceChange) -> str:
    return "update" if change.action == "update" else "create"


def test_a_changed_attribute_is_drift() -> None:
    check = look(changed(("tags.Name", '"a"', '"b"')))
    assert check.state == "drifted"
    assert check.resources[0]["attributes"] == [{"name": "tags.Name", "before": '"a"', "after": '"b"'}]


@pytest.mark.parametrize(
    "attribute",
    [
        ("description", "null", '""'),
        ("ingress", "[]", "null"),
        ("etag", '"1"', '"2"'),
        ("last_modified_time", "1", "2"),
        ("self_link_with_id", '"a"', '"b"'),
    ],
)
def test_noise_is_listed_but_is_no_drift(attribute: tuple[str, str, str]) -> None:
    check = look(changed(attribute))
    assert (check.state, check.resources) == ("in_sync", [])
    assert attribute[0] in check.noise[0]


def test_a_copy_is_noise_only_beside_what_it_copies() -> None:
    tag, copy = ("tags.Name", '"a"', '"b"'), ("tags_all.Name", '"a"', '"b"')
    assert [item["name"] for item in look(changed(tag, copy)).resources[0]["attributes"]] == ["tags.Name"]
    assert look(changed(copy)).state == "drifted"


def test_what_was_deleted_is_drift() -> None:
    assert look(changed(action="destroy")).resources[0]["action"] == "destroy"


def rule(until: date = date(2026, 12, 31), **more: str) -> Ignore:
    return Ignore(**{"resource": "aws_vpc.*", "reason": "a test by ops", "until": until, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ignore", "state"),
    [
        (rule(), "in_sync"),
        (rule(resource="aws_vpc.main[0]"), "in_sync"),
        (rule(resource="aws_vpc.main[1]"), "drifted"),
        (rule(attribute="tags.*"), "in_sync"),
        (rule(attribute="cidr_block"), "drifted"),
        (rule(until=date(2026, 11, 23)), "in_sync"),
        (rule(until=date(2026, 11, 22)), "drifted"),
    ],
)
def test_ignores(ignore: Ignore, state: str) -> None:
    check = look(changed(("tags.Name", '"a"', '"b"')), ignores=[ignore])
    assert check.state == state
    assert bool(check.ignored) == (state == "in_sync")
    assert bool(check.expired) == (ignore.until < NOW.date())
    assert all("a test by ops" in text for text in check.ignored + check.expired)


def test_a_drift_is_known_again_and_cured_once() -> None:
    first = look(changed(("tags.Name", '"a"', '"b"')))
    later = NOW + timedelta(days=1)
    plan = Plan(drift=(changed(("tags.Name", '"a"', '"b"')),))
    second = judge(ADDRESS, plan, before=memory(first), now=later)
    assert second.resources[0]["first_seen"] == NOW.isoformat()
    assert second.resources[0]["last_seen"] == later.isoformat()
    assert second.resources[0]["fingerprint"] == first.resources[0]["fingerprint"]
    other = look(changed(("tags.Name", '"a"', '"c"')))
    assert other.resources[0]["fingerprint"] != first.resources[0]["fingerprint"]
    third = judge(ADDRESS, Plan(), before=memory(second), now=later)
    assert (third.state, third.cured) == ("in_sync", ["aws_vpc.main[0]"])
    assert judge(ADDRESS, Plan(), before=memory(third), now=later).cured == []


def test_merged_but_not_applied_is_pending_not_drift() -> None:
    check = look(resources=(changed(action="create"),))
    assert (check.state, check.pending) == ("pending", "1 to add")


def test_the_repair_of_a_drift_is_not_pending() -> None:
    drifted = changed(("tags.Name", '"a"', '"b"'))
    repair = changed(("tags.Name", '"b"', '"a"'))
    new = changed(action="create", address="aws_subnet.new")
    check = look(drifted, resources=(repair,))
    assert (check.state, check.pending) == ("drifted", "")
    check = look(drifted, resources=(repair, new))
    assert (check.state, check.pending) == ("drifted", "1 to add")


def test_noise_and_what_is_ignored_do_not_hide_what_is_pending() -> None:
    noisy = changed(("etag", '"a"', '"b"'))
    new = changed(("cidr", '"10.0.0.0/16"', '"10.1.0.0/16"'))
    check = look(noisy, resources=(new,))
    assert (check.state, check.pending) == ("pending", "1 to change")
    scaled = changed(("desired_capacity", "2", "5"))
    rule = Ignore(resource="*", attribute="desired_capacity", reason="r", until=date(2999, 1, 1))
    back = changed(("desired_capacity", "5", "2"))
    assert look(scaled, resources=(back,), ignores=[rule]).state == "in_sync"
    both = changed(("desired_capacity", "5", "2"), ("size", '"s"', '"l"'))
    check = look(scaled, resources=(both,), ignores=[rule])
    assert (check.state, check.pending) == ("pending", "1 to change")
    check = look(changed(action="delete"), resources=(changed(("cidr", "null", '"x"'), action="create"),))
    assert (check.state, check.pending) == ("drifted", "")


def test_what_a_cloud_counts_is_noise_wherever_it_is_nested_but_for_names_that_people_give() -> None:
    assert look(changed(("metadata.0.generation", "1", "2"))).state == "in_sync"
    assert look(changed(("tags.generation", '"1"', '"2"'))).state == "drifted"


def test_unknown_keeps_the_time_of_the_last_good_check() -> None:
    found = unknown(ADDRESS, "no answer", memory(look())).to_json()
    assert (found["state"], found["error"], found["last_good"]) == ("unknown", "no answer", NOW.isoformat())
    assert "last_good" not in unknown(ADDRESS, "no answer", None).to_json()


def test_what_applying_would_not_put_back_is_an_unmanaged_change() -> None:
    both = changed(("tags.Name", '"a"', '"b"'), ("tags.note", "null", '"x"'))
    assert look(both, resources=()).state == "unmanaged_change"
    check = look(both, resources=(changed(("tags.Name", '"b"', '"a"')),))
    names = [[item["name"] for item in found["attributes"]] for found in check.resources]
    assert (check.state, names) == ("drifted", [["tags.Name"], ["tags.note"]])
    assert [found.get("unmanaged", False) for found in check.resources] == [False, True]
    removed = look(changed(action="destroy"), resources=())
    assert removed.state == "unmanaged_change", "the code no longer has it either"


def test_an_attribute_is_put_back_with_what_holds_it() -> None:
    drifted = changed(("ingress.0.port", "80", "81"))
    assert look(drifted, resources=(changed(("ingress", "[..]", "[.]")),)).state == "drifted"


def test_a_stack_is_missing_when_nothing_of_it_is_left() -> None:
    gone, new = changed(action="destroy"), changed(action="create")
    assert judge(ADDRESS, Plan(drift=(gone,), resources=(new,), all_gone=True)).state == "missing"
    assert judge(ADDRESS, Plan(drift=(gone,), resources=(new,))).state == "drifted"
    lost = Plan(resources=(new,), no_state=True)
    assert judge(ADDRESS, lost).state == "pending", "it was never deployed"
    check = judge(ADDRESS, lost, deployed=True)
    assert (check.state, check.pending, check.resources[0]["address"]) == ("missing", "", "state")
    assert judge(ADDRESS, Plan(no_state=True), deployed=True).state == "in_sync", "it has no resources"


def test_what_a_plan_says_of_its_state() -> None:
    vpc = {"address": "aws_vpc.main", "type": "aws_vpc", "mode": "managed"}
    gone = vpc | {"change": {"actions": ["delete"], "before": {}, "after": None}}
    module = {"child_modules": [{"resources": [vpc]}]}

    def parsed(drift: list[Any], **values: Any) -> tuple[bool, bool]:
        plan = parse_plan(
            {"format_version": "1.2", "resource_drift": drift, "prior_state": {"values": values}}
        )
        return plan.no_state, plan.all_gone

    assert parsed([]) == (True, False)
    assert parsed([], outputs={"a": {}}) == (False, False)
    assert parsed([gone]) == (False, True)
    assert parsed([gone], root_module=module) == (False, False)
    assert parsed([], root_module=module) == (False, False)
