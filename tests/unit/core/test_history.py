"""Where a rollback goes to."""

from __future__ import annotations

import pytest

from triplane.core.errors import InputError
from triplane.core.history import AUTHORIZED, ROLLOUT, before, named, previous
from triplane.core.ledger import Entry


def ledger(*story: str) -> list[Entry]:
    """``"deploy A"`` began and ended well, ``"deploy B failed"`` began only."""
    found: list[Entry] = []
    for line in story:
        intent, source, *failed = line.split()
        body = {
            "intent": intent,
            "source": source,
            "spec": "s",
            "revision": f"commit-{source}",
            "digest": line,
            "run_id": f"run{len(found) // 3}.aws.apply",
        }
        kinds = [AUTHORIZED] if failed else [AUTHORIZED, ROLLOUT]
        found += [Entry(len(found), "", kind, "", body) for kind in ("change_set", *kinds)]
    return found


@pytest.mark.parametrize(
    ("story", "target"),
    [
        (["deploy A", "deploy B"], "A"),
        (["deploy A", "deploy B failed"], "A"),
        (["deploy A", "deploy B", "deploy B"], "A"),
        (["deploy A", "deploy B", "deploy C failed", "deploy C failed"], "B"),
        (["deploy A", "deploy B", "deploy C", "rollback B"], "A"),
        (["deploy A", "deploy B", "deploy C", "rollback B failed"], "B"),
        (["deploy A", "deploy B", "rollback A", "deploy C"], "A"),
        (["deploy A", "deploy B failed", "rollback A", "deploy C failed"], "A"),
        (["deploy A", "destroy A failed"], "A"),
        (["deploy A", "destroy A", "deploy B", "deploy C"], "B"),
        (["deploy A", "deploy B", "rollback A", "rollback B"], "A"),
        (["deploy A", "deploy B", "rollback A", "rollback B failed"], "A"),
    ],
)
def test_the_last_good_version_before(story: list[str], target: str) -> None:
    version = previous(ledger(*story), "prod/aws")
    assert (version.source, version.revision) == (target, f"commit-{target}")


@pytest.mark.parametrize(
    "story",
    [
        [],
        ["deploy A"],
        ["deploy A failed"],
        ["deploy A", "deploy B", "rollback A"],
        ["deploy A", "destroy A"],
    ],
)
def test_nothing_to_go_back_to(story: list[str]) -> None:
    with pytest.raises(InputError, match="nothing to go back to in prod/aws"):
        previous(ledger(*story), "prod/aws")


@pytest.mark.parametrize(
    ("story", "run", "target"),
    [
        (["deploy A", "deploy B"], "deploy B", "A"),
        (["deploy A", "deploy B failed"], "deploy B failed", "A"),
        (["deploy A", "deploy A again"], "deploy A again", "A"),
        (["deploy A", "deploy B", "rollback A", "deploy C"], "deploy C", "A"),
        (["deploy A", "deploy B failed", "deploy C"], "deploy C", "A"),
        (["deploy A"], "deploy A", None),
        (["deploy A", "destroy A", "deploy B"], "deploy B", None),
    ],
)
def test_what_was_good_before_a_run(story: list[str], run: str, target: str | None) -> None:
    entries = ledger(*[line.replace(" again", "") for line in story])
    began = [entry for entry in entries if entry.kind == AUTHORIZED]
    found = before(entries, str(began[story.index(run)].body["run_id"]))
    assert (found.source if found else None) == target


def test_a_run_that_never_began_has_nothing_before() -> None:
    assert before(ledger("deploy A"), "another") is None


@pytest.mark.parametrize("name", ["commit-A", "commit-", "run0", "run0.aws.apply"])
def test_a_version_is_named_by_its_commit_or_its_run(name: str) -> None:
    entries = ledger("deploy A", "deploy B", "rollback A", "deploy C failed")
    assert named(entries, "prod/aws", name).source == "A"


@pytest.mark.parametrize("name", ["commit-C", "comm", "run3", "nonsense"])
def test_what_was_never_good_cannot_be_gone_back_to(name: str) -> None:
    entries = ledger("deploy A", "deploy B", "rollback A", "deploy C failed")
    with pytest.raises(InputError, match=r"never good in prod/aws.*the good ones are commit-A, commit-B"):
        named(entries, "prod/aws", name)


def test_nothing_was_good_yet() -> None:
    with pytest.raises(InputError, match="nothing was good there yet"):
        named([], "prod/aws", "commit-A")
