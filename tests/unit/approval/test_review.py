"""What a reviewer reads."""

from __future__ import annotations

from triplane.approval import review
from triplane.core.approval import Policy
from triplane.core.change import ChangeSet, ComponentChange, Risk


def change_set(cloud: str, *changes: ComponentChange) -> ChangeSet:
    return ChangeSet(
        platform="shop", environment="prod", cloud=cloud, revision="abc", source="s", spec="t",
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
    assert "Asked for by **alice**" in text
    assert "2 approval(s) needed; a decision holds for 2 h." in text
    assert aws.digest in text
    assert gcp.digest in text
    assert "-/+ aws_vpc.main" in text
    assert "Unchanged: aws/chart/x" in text


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


def test_the_digest_covers_every_cloud() -> None:
    aws, gcp = change_set("aws"), change_set("gcp")
    assert review.review_digest([aws]) != review.review_digest([aws, gcp])
    assert review.review_digest([aws, gcp]) == review.review_digest([gcp, aws])
