"""Whose turn it is, told from the ledger and from what still runs."""

from __future__ import annotations

from triplane.core.ledger import Entry
from triplane.core.turns import Run, Turns


def turns(*story: str) -> Turns:
    """``"asked A"``, ``"superseded A B"``."""
    entries = []
    for number, line in enumerate(story):
        kind, run, *by = line.split()
        body = {"dag_id": "deploy", "run_id": run, **({"by": f"deploy {by[0]}"} if by else {})}
        entries.append(Entry(number, "", kind, "", body))
    return Turns(entries)


def run(name: str) -> Run:
    return Run("deploy", name)


def names(found: list[Run]) -> str:
    return "".join(item.run_id for item in found)


def before(story: list[str], name: str, running: str) -> str:
    return names(turns(*story).before(run(name), lambda other: other.run_id in running))


def test_the_older_ones_go_first() -> None:
    story = ["asked A", "asked B", "taken A", "asked C"]
    assert before(story, "A", "ABC") == ""
    assert before(story, "B", "ABC") == "A"
    assert before(story, "C", "ABC") == "AB"


def test_a_run_that_died_holds_nobody_up() -> None:
    assert before(["asked A", "taken A", "asked B"], "B", "B") == ""
    assert before(["asked A", "asked B", "asked C"], "C", "BC") == "B"


def test_an_older_run_that_asks_again_waits_for_the_one_that_has_the_turn() -> None:
    assert before(["asked A", "asked B", "taken B"], "A", "AB") == "B"


def test_a_superseded_run_holds_nobody_up() -> None:
    assert before(["asked A", "taken A", "asked B", "superseded A B"], "B", "AB") == ""


def test_of_superseding_and_applying_the_first_counts() -> None:
    late = turns("asked A", "taken A", "applying A", "asked B", "superseded A B")
    assert late.superseded_by(run("A")) == ""
    assert late.applying(run("A"))
    early = turns("asked A", "taken A", "asked B", "superseded A B", "applying A")
    assert early.superseded_by(run("A")) == "deploy B"
    assert not early.applying(run("A"))


def test_only_older_ones_that_applied_nothing_and_still_run_are_superseded() -> None:
    story = turns(
        "asked A", "taken A", "applying A", "asked B", "asked C", "superseded C B", "asked D", "asked E"
    )
    assert names(story.supersedable(run("D"), lambda other: other.run_id != "X")) == "B"
    assert names(story.supersedable(run("D"), lambda other: other.run_id == "A")) == ""


def test_who_took_a_turn_since() -> None:
    story = turns("asked A", "taken A", "asked B", "taken B")
    assert names(story.since(run("A"), lambda other: True)) == "B"
    assert names(story.since(run("A"), lambda other: False)) == ""
    assert names(story.since(run("B"), lambda other: True)) == ""
    assert names(story.since(run("by hand"), lambda other: True)) == "AB"
