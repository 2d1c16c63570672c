"""Where a rollback goes to."""

from __future__ import annotations

import pytest

from triplane.core.errors import InputError
from triplane.core.history import AUTHORIZED, ROLLOUT, previous
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
