"""Real drift, noise, what is ignored, and what is only pending."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from triplane.core.drift import Check, Ignore, memory, unknown
from triplane.terraform.drift import judge
from triplane.terraform.plan import AttributeChange, Plan, ResourceChange

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


def look(*drift: ResourceChange, resources: tuple[ResourceChange, ...] = (), **more: Any) -> Check:
    return judge(ADDRESS, Plan(drift=drift, resources=resources), now=NOW, **more)


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
