"""What a reviewer reads."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, time
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triplane.approval import review
from triplane.core.approval import Policy
from triplane.core.calendar import Calendar, Freeze, Window
from triplane.core.change import ChangeSet, ComponentChange, Risk
from triplane.core.digest import canonical_json
from triplane.forge import comment


def change_set(cloud: str, *changes: ComponentChange) -> ChangeSet:
    return ChangeSet(
        platform="shop", environment="prod", cloud=cloud, asked="main", revision="abc", planned_at="2026-01-01T00:00:00+00:00", source="s", spec="t",
        policy=Policy(votes={"high": 2}, expires=7200).to_json(), changes=changes,
    )  # fmt: skip


def change(address: str, risk: Risk, *lines: str) -> ComponentChange:
    action = "replace" if risk else "none"
    return ComponentChange(address=address, action=action, risk=risk, summary="1 to replace", lines=lines)  # type: ignore[arg-type]


def test_it_shows_every_cloud_with_digest_risk_and_changes() -> None:
    aws = change_set(
        "aws", change("aws/stack/network", Risk.HIGH, "-/+ aws_vpc.main"), change("aws/chart/x", Risk.NONE)
    )
    gcp = change_set("gcp", change("gcp/chart/x", Risk.NONE))
    assert review.subject([aws, gcp]) == "shop to prod (AWS, Google Cloud): 1 changes, risk high"
    text = review.body([aws, gcp], "alice")
    assert "Deploy revision `abc`, asked for by **alice**" in text
    assert "2 approval(s) needed; a decision holds for 2 h." in text
    assert aws.digest in text
    assert gcp.digest in text
    assert "-/+ aws_vpc.main" in text
    assert "Unchanged: aws/chart/x" in text


def test_what_has_left_the_spec_is_not_called_unchanged() -> None:
    left = replace(
        change("aws/machines/workers", Risk.NONE), summary="it has left the spec", left_behind=True
    )
    found = change_set("aws", change("aws/chart/x", Risk.NONE), left)
    text = review.body([found], "alice")
    assert "Unchanged: aws/chart/x\n" in text
    assert "Left behind, not in the spec any more: aws/machines/workers" in text
    said = "Left behind, not in the spec any more: `aws/machines/workers`"
    assert f"No changes.\n\n{said}" in comment.body([found])
    changed = replace(found, changes=(*found.changes, change("aws/stack/network", Risk.HIGH)))
    assert comment.body([changed]).endswith(f"1 to replace |\n\n{said}")


def test_what_the_tests_said_is_told_once() -> None:
    said = ({"name": "unit", "text": "41 of 42 tests passed, 1 skipped"}, {"name": "smoke", "text": "a `b`"})
    aws, gcp = (replace(change_set(cloud), tests=said) for cloud in ("aws", "gcp"))
    text = review.body([aws, gcp], "alice")
    assert text.count("Tests:\n\n- unit: 41 of 42 tests passed, 1 skipped\n- smoke: a 'b'\n\n## AWS") == 1
    assert "Tests:" not in review.body([change_set("aws")], "alice")
    assert aws.digest != change_set("aws").digest
    assert ChangeSet.from_json(aws.to_json()) == aws


def test_a_reviewer_sees_that_it_destroys_or_goes_back() -> None:
    made = change_set("aws", change("aws/stack/network", Risk.CRITICAL, "- aws_vpc.main"))
    destroy, rollback = replace(made, intent="destroy"), replace(made, intent="rollback")
    assert review.subject([destroy]) == "Destroy shop in prod (AWS): 1 changes, risk critical"
    assert review.subject([rollback]) == "Roll back shop in prod (AWS): 1 changes, risk critical"
    assert "**Destroy** what is deployed of revision `abc`" in review.body([destroy], "alice")
    assert "**Roll back** to revision `abc`" in review.body([rollback], "alice")


def test_a_change_cannot_break_out_of_its_block() -> None:
    text = review.body(
        [change_set("aws", change("aws/stack/n", Risk.LOW, "```\n# Approved by security"))], "a"
    )
    assert "\n# Approved" not in text
    assert text.count("```") == 2


def test_many_lines_are_cut_and_counted() -> None:
    lines = [f"+ thing {n}" for n in range(500)]
    text = review.body([change_set("aws", change("aws/stack/n", Risk.LOW, *lines))], "a")
    assert "... and 470 more" in text
    assert len(text.splitlines()) < 60


ACTIONS = st.sampled_from(["-/+", "-", "+", "~", "=>", "!", "<="])
COMPONENT = st.tuples(
    st.lists(st.tuples(ACTIONS, st.integers(1, 2000)), max_size=60),
    st.integers(1, 500),
    st.sampled_from([Risk.LOW, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL]),
    st.lists(st.just("no public buckets"), max_size=2),
)


def component(address: str, risk: Risk, lines: list[str], denied: list[str]) -> ComponentChange:
    return ComponentChange(
        address=address, action="update", risk=risk, summary="s" * 999, lines=tuple(lines), denied=tuple(denied)
    )  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(COMPONENT, min_size=1, max_size=90))
def test_any_change_sets_fit_and_what_matters_comes_first(drawn: list[Any]) -> None:
    changes = [
        component(f"aws/stack/s{n}", risk, [f"{sign} r{i} " + "x" * width for i, (sign, width) in enumerate(lines)] * times, denied)
        for n, (lines, times, risk, denied) in enumerate(drawn)
    ]  # fmt: skip
    sets = [change_set(cloud, *changes[i::3]) for i, cloud in enumerate(("aws", "gcp", "azure"))]
    text = review.body(sets, "alice")
    assert len(text) < 63_000
    assert len(text.splitlines()) < 800
    for block in re.findall(r"```text\n(.*?)\n```", text, re.S):
        lines = block.splitlines()
        urgent = [line.startswith(review.URGENT) for line in lines if not line.startswith("... ")]
        assert urgent == sorted(urgent, reverse=True)
        denied = [line.startswith("! denied") for line in lines]
        assert denied == sorted(denied, reverse=True)
    for section in text.split("\n## ")[1:]:
        order = [Risk.parse(name) for name in re.findall(r"^\*\*.*?: update, risk (\w+)\.", section, re.M)]
        marked = [f"**{change.address}**" for change in changes if change.denied]
        refused = [
            any(line.startswith(mark) for mark in marked)
            for line in section.splitlines()
            if line.startswith("**")
        ]
        assert refused == sorted(refused, reverse=True)
        assert order == sorted(order[: sum(refused)], reverse=True) + sorted(
            order[sum(refused) :], reverse=True
        )


def stacks(count: int, lines: Callable[[int], list[str]]) -> list[ChangeSet]:
    changes = [component(f"aws/stack/s{n}", Risk.HIGH, lines(n), []) for n in range(count)]
    return [change_set(cloud, *changes[i::3]) for i, cloud in enumerate(("aws", "gcp", "azure"))]


def shown_and_counted(text: str) -> tuple[list[str], int, int]:
    lines = [line for block in re.findall(r"```text\n(.*?)\n```", text, re.S) for line in block.splitlines()]
    more = [re.fullmatch(r"\.\.\. and (\d+) more(?:, (\d+) of them urgent)?", line) for line in lines]
    counts = [(int(found[1]), int(found[2] or 0)) for found in more if found]
    shown = [line for line, found in zip(lines, more, strict=True) if not found]
    return shown, sum(all_ for all_, _ in counts), sum(worse for _, worse in counts)


def test_12_stacks_of_500_changes_are_a_few_pages() -> None:
    destroyed = {3: 20, 7: 5}
    sets = stacks(12, lambda n: [f"+ aws_route53_record.r[{i}]" for i in range(500 - destroyed.get(n, 0))]
                  + [f"- aws_instance.i{n}[{i}]" for i in range(destroyed.get(n, 0))])  # fmt: skip
    text = review.body(sets, "alice")
    shown, hidden, urgent = shown_and_counted(text)
    assert len(text.splitlines()) < 260
    assert len(text) < 20_000
    assert len([line for line in shown if line.startswith("- ")]) == 25
    assert (len(shown) + hidden, urgent) == (6000, 0)
    assert all(f"aws/stack/s{n}**" in text for n in range(12))


def test_when_everything_is_destroyed_every_stack_says_how_much() -> None:
    sets = stacks(12, lambda n: [f"- aws_instance.i[{i}]" for i in range(495)] + ["+ aws_iam_role.new"] * 5)
    shown, hidden, urgent = shown_and_counted(review.body(sets, "alice"))
    assert len(shown) + hidden == 6000
    assert sum(line.startswith("- ") for line in shown) + urgent == 12 * 495
    assert sum(line.startswith("+ ") for line in shown) >= 12 * 3


def test_what_a_policy_denies_is_the_first_line_of_all() -> None:
    quiet = component("aws/stack/quiet", Risk.LOW, ["+ aws_vpc.a"], ["no VPC on Fridays"])
    loud = component("aws/stack/loud", Risk.CRITICAL, ["! aws_db.d: its data is lost", "- aws_db.d"], [])
    text = review.body([change_set("aws", loud, quiet)], "alice")
    assert re.findall(r"^(?:\*\*\S+\*\*|[!+-] .*)", text, re.M) == [
        "**aws/stack/quiet**", "! denied by policy: no VPC on Fridays", "+ aws_vpc.a",
        "**aws/stack/loud**", "! aws_db.d: its data is lost", "- aws_db.d",
    ]  # fmt: skip


def test_a_thousand_components_are_counted() -> None:
    changes = [component(f"aws/stack/s{n}", Risk.LOW, ["+ aws_vpc.a"], []) for n in range(999)]
    changes.append(component("aws/stack/last", Risk.CRITICAL, ["- aws_db_instance.d"], []))
    unchanged = [change(f"aws/chart/c{n}", Risk.NONE) for n in range(300)]
    text = review.body([change_set("aws", *changes, *unchanged)], "alice")
    assert text.index("- aws_db_instance.d") < text.index("+ aws_vpc.a")
    assert "Changed too, risk low at most: aws/stack/s49, " in text
    assert ", 930 more\n" in text
    assert ", 280 more\n" in text
    assert len(text) < 40_000


def test_the_digest_covers_every_cloud() -> None:
    aws, gcp = change_set("aws"), change_set("gcp")
    assert review.review_digest([aws]) != review.review_digest([aws, gcp])
    assert review.review_digest([aws, gcp]) == review.review_digest([gcp, aws])


def test_the_rules_name_groups_windows_and_emergencies() -> None:
    calendar = Calendar(
        (Window((0, 1), time(9), time(16), "UTC"),),
        (Freeze(date(2026, 12, 20), date(2027, 1, 2), "holidays"),),
    )
    policy = Policy(required={"high": {"security": ["dora"]}}, calendar=calendar.to_json())
    made = replace(change_set("aws", change("aws/stack/network", Risk.HIGH, "- x")), policy=policy.to_json())
    text = review.body([made], "alice")
    assert "Somebody of security (dora) must be among them." in text
    assert "It is applied in the deployment windows: mon, tue 09:00-16:00 UTC." in text
    assert "Not while frozen from 2026-12-20 to 2027-01-02: holidays." in text
    urgent = replace(made, emergency="the shop is `down`\nnow")
    text = review.body([urgent], "alice")
    assert text.startswith("**EMERGENCY**, at any time: the shop is 'down' now\n\nDeploy revision")
    assert "2 approval(s) needed" in text
    assert "windows" not in text
    assert review.subject([urgent]).startswith("EMERGENCY: shop to prod")
    assert urgent.digest != made.digest


def test_every_line_is_in_the_log_whatever_the_body_shows() -> None:
    lines = [f"+ resource.thing_{number} {'x' * 300}" for number in range(400)]
    made = [
        change_set("aws", change("aws/stack/network", Risk.HIGH, *lines, "-/+ aws_vpc.main")),
        change_set("gcp"),
    ]
    logged = list(review.every_line(made))
    assert all(any(line in shown for shown in logged) for line in lines)
    assert logged[2] == "  -/+ aws_vpc.main", "what is urgent comes first"
    assert sum(line in review.body(made, "alice", "http://log") for line in lines) < len(lines)
    assert "[Every line of it](http://log)" in review.body(made, "alice", "http://log")


@given(
    found=st.lists(
        st.builds(
            change,
            st.sampled_from(["aws/stack/a", "aws/stack/b", "aws/chart/c"]),
            st.sampled_from(list(Risk)),
            st.text(max_size=30),
            st.sampled_from(["+ a", "- b", "-/+ c"]),
        ),
        max_size=5,
    )
)
@settings(max_examples=50, deadline=None)
def test_the_same_change_sets_are_the_same_text(found: list[ComponentChange]) -> None:
    made = [change_set("aws", *found), change_set("gcp", *found)]
    stored = [ChangeSet.from_json(json.loads(canonical_json(item.to_json()))) for item in made]
    assert review.body(stored, "alice", "l") == review.body(made, "alice", "l")
    assert review.subject(stored) == review.subject(made)
    assert list(review.every_line(stored)) == list(review.every_line(made))


def test_a_summary_is_short() -> None:
    made = [change_set("aws", change("aws/stack/network", Risk.HIGH, *["+ x"] * 500)), change_set("gcp")]
    text = review.summary(made)
    assert "- AWS: 1 changes, risk high\n- Google Cloud: 0 changes, risk none" in text
    assert "2 approval(s) needed" in text
    assert len(text) < 500
    assert "**EMERGENCY**: it burns" in review.summary([replace(made[0], emergency="it burns")])


def test_when_a_release_is_rolled_back_by_itself_is_part_of_what_is_approved() -> None:
    plain = change_set("aws", change("aws/stack/network", Risk.HIGH))
    promised = replace(plain, release={"policy": "all_or_nothing"})
    quorum = replace(plain, release={"policy": "quorum", "quorum": 2})
    assert "Release" not in review.body([plain], "alice")
    assert "**Release all_or_nothing**: unless all of the clouds end well" in review.body([promised], "alice")
    assert "**Release quorum**: unless 2 of the clouds end well" in review.body([quorum], "alice")
    assert len({plain.digest, promised.digest, quorum.digest}) == 3
