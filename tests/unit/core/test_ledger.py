"""Nobody changes, removes, moves or adds an entry of the ledger without its being noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triplane.core.errors import RefusedError
from triplane.core.ledger import GENESIS, RESEALED, Entry, Ledger, scopes

OLD, NEW = "o" * 40, "n" * 40
SCOPE = "staging/aws"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Five entries, sealed."""
    ledger = Ledger(tmp_path, SCOPE, [OLD])
    for number in range(5):
        ledger.append("applying", {"digest": number})
    return ledger


def path(root: Path, number: int, scope: str = SCOPE) -> Path:
    return root / "ledger" / scope / f"{number:08d}.json"


def edit(root: Path, number: int) -> None:
    file = path(root, number)
    file.write_text(file.read_text().replace(f'"digest":{number}', '"digest":9'))


def rewrite(root: Path, first: int) -> None:
    """Change an entry and chain all that follow anew, as somebody who has no key would."""
    files = sorted((root / "ledger" / SCOPE).glob("*.json"))
    entries = [Entry(**json.loads(file.read_text())) for file in files]
    entries[first] = replace(entries[first], body={"digest": 9})
    for number in range(first + 1, len(entries)):
        entries[number] = replace(entries[number], previous=entries[number - 1].digest)
    for file, entry in zip(files, entries, strict=True):
        file.write_text(json.dumps(vars(entry)))


def swap(root: Path, one: int, other: int) -> None:
    first, second = path(root, one).read_text(), path(root, other).read_text()
    path(root, one).write_text(second)
    path(root, other).write_text(first)


def forge(root: Path) -> None:
    """Add an entry at the end that fits the chain."""
    last = Entry(**json.loads(path(root, 4).read_text()))
    body = {"number": 5, "previous": last.digest, "kind": "rollout", "at": last.at, "body": {}}
    path(root, 5).write_text(json.dumps({**body, "key": last.key, "seal": last.seal}))


def bring_from_elsewhere(root: Path) -> None:
    """Replace the ledger by a genuine one of another scope."""
    other = Ledger(root, "staging/gcp", [OLD])
    for number in range(5):
        other.append("applying", {"digest": number})
    shutil.rmtree(root / "ledger" / SCOPE)
    shutil.copytree(root / "ledger" / "staging" / "gcp", root / "ledger" / SCOPE)


def test_a_ledger_is_a_chain(ledger: Ledger) -> None:
    assert [entry.body["digest"] for entry in ledger.entries("applying")] == [0, 1, 2, 3, 4]
    assert ledger.entries("other") == []
    assert ledger.entries()[0].previous == GENESIS
    assert ledger.problems() == []


TAMPERED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an entry edited": (lambda root: edit(root, 1), "entry 2 does not follow the entry 1"),
    "the last one edited": (lambda root: edit(root, 4), "entry 4 was not written by a worker"),
    "the chain written anew": (lambda root: rewrite(root, 1), "entry 4 was not written by a worker"),
    "the first one removed": (lambda root: path(root, 0).unlink(), "entry 0 is missing"),
    "one removed": (lambda root: path(root, 2).unlink(), "entry 2 is missing"),
    "the last one removed": (
        lambda root: path(root, 4).unlink(),
        "there were 5 entries, and there are 4 now",
    ),
    "two swapped": (lambda root: swap(root, 1, 3), "entry 1 is missing or out of order"),
    "one added": (forge, "entry 5 was not written by a worker"),
    "another scope's": (bring_from_elsewhere, "entry 4 was not written by a worker"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_what_was_tampered_with_is_not_trusted(ledger: Ledger, tmp_path: Path, case: str) -> None:
    tamper, message = TAMPERED[case]
    tamper(tmp_path)
    assert any(message in problem for problem in ledger.problems()), ledger.problems()
    with pytest.raises(RefusedError, match="is not to be trusted"):
        ledger.entries()


@given(data=st.data())
def test_no_byte_of_an_entry_can_be_changed(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    root = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(root, SCOPE, [OLD])
    for number in range(3):
        ledger.append("applying", {"digest": number})
    number = data.draw(st.integers(0, 2))
    entry = json.loads(path(root, number).read_text())
    name = data.draw(st.sampled_from(["number", "previous", "kind", "at", "body"]))
    entry[name] = {"number": 7, "body": {"digest": 8}}.get(name, "else")
    path(root, number).write_text(json.dumps(entry))
    assert ledger.problems() != []


def test_the_newest_entries_are_read_page_by_page(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "staging/aws")
    for number in range(5):
        ledger.append("rollout", {"n": number})
    assert [entry.number for entry in ledger.newest(2)] == [4, 3]
    assert [entry.number for entry in ledger.newest(2, before=3)] == [2, 1]
    assert [entry.number for entry in ledger.newest(2, before=1)] == [0]
    assert ledger.newest(2, before=0) == []


def test_a_head_kept_elsewhere_shows_what_a_whole_copy_of_an_earlier_day_hides(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, SCOPE, [OLD])
    ledger.append("applying", {"digest": 0})
    shutil.copytree(tmp_path / "ledger", tmp_path / "earlier")
    ledger.append("applying", {"digest": 1})
    head = ledger.head()
    assert head
    assert ledger.problems(head) == []
    shutil.rmtree(tmp_path / "ledger")
    shutil.copytree(tmp_path / "earlier", tmp_path / "ledger")
    assert ledger.problems() == []
    assert ledger.problems(head) == [f"entry 1 is not the {head.digest} that was there before"]


def test_keys_are_rotated_and_revoked(ledger: Ledger, tmp_path: Path) -> None:
    rotated = Ledger(tmp_path, SCOPE, [NEW, OLD])
    assert rotated.problems() == []
    revoked = Ledger(tmp_path, SCOPE, [NEW])
    with pytest.raises(RefusedError, match=r"sealed with the key .* not in .* any more.*reseal staging/aws"):
        revoked.append("applying", {})
    assert revoked.reseal().kind == RESEALED
    revoked.append("applying", {"digest": 5})
    assert revoked.problems() == []
    edit(tmp_path, 2)
    with pytest.raises(RefusedError, match="entry 3 does not follow"):
        revoked.reseal()


def test_what_was_written_before_there_was_a_key_is_vouched_for_once(tmp_path: Path) -> None:
    Ledger(tmp_path, SCOPE).append("applying", {})
    ledger = Ledger(tmp_path, SCOPE, [NEW])
    with pytest.raises(RefusedError, match="entry 0 is not sealed"):
        ledger.entries()
    ledger.reseal()
    assert len(ledger.entries()) == 2


def test_a_forged_head_hides_nothing(ledger: Ledger, tmp_path: Path) -> None:
    head = tmp_path / "ledger" / SCOPE / "head"
    head.write_text(json.dumps({**json.loads(head.read_text()), "number": 1}))
    assert ledger.problems() == ["the head is not the one that a worker of this installation wrote"]


def test_all_scopes_are_found(tmp_path: Path) -> None:
    assert scopes(tmp_path) == []
    for scope in ("staging/aws", "staging/gcp", "prod/aws", "prod"):
        Ledger(tmp_path, scope).append("note", {})
    assert scopes(tmp_path) == ["prod", "prod/aws", "staging/aws", "staging/gcp"]
