"""What people call a revision, and which commit that is."""

from __future__ import annotations

import pytest

from triplane.core.errors import InputError
from triplane.source.revisions import chosen, listed, refs

A, B, C = ("a" * 40, "b" * 40, "c" * 40)
LISTED = f"""\
{A}\tHEAD
{A}\trefs/heads/main
{B}\trefs/heads/both
{B}\trefs/heads/pull/12
{C}\trefs/pull/7/head
{C}\trefs/merge-requests/7/head
{A}\trefs/pull/12/head
{B}\trefs/tags/v1
{C}\trefs/tags/v1^{{}}
{C}\trefs/tags/both
{A}\trefs/heads/same
{A}\trefs/tags/same
"""


@pytest.mark.parametrize(
    ("kind", "revision", "commit"),
    [
        ("github", "HEAD", A),
        ("github", "main", A),
        ("github", "v1", C),
        ("github", "refs/tags/v1", C),
        ("github", "pull/7", C),
        ("gitlab", "!7", C),
        ("gitlab", "merge-requests/7", C),
        ("gitlab", "pull/12", B),
        ("github", "refs/heads/both", B),
        ("github", "same", A),
    ],
)
def test_a_revision_is_a_commit(kind: str, revision: str, commit: str) -> None:
    assert chosen(kind, revision, listed(LISTED)) == commit


@pytest.mark.parametrize(
    ("kind", "revision", "said"),
    [
        ("github", "nope", "the repository has no 'nope': ask for a branch, a tag, `pull/12`"),
        ("gitlab", "!8", "`!12`, or a commit by all its digits"),
        ("github", "!7", "has no '!7'"),
        ("github", "mai*", "has no 'mai"),
        ("github", A[:7], "all its digits"),
        ("github", "HEAD~1", "has no"),
        ("github", "both", "both may be refs/heads/both or refs/tags/both: ask for one of them by that name"),
        ("github", "pull/12", "may be refs/pull/12/head or refs/heads/pull/12"),
    ],
)
def test_what_is_none_or_two_is_refused(kind: str, revision: str, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(").replace("*", r"\*")):
        chosen(kind, revision, listed(LISTED))


def test_a_full_id_is_not_looked_up_and_no_name_is_an_option() -> None:
    assert refs("github", A) == ()
    assert all(ref.startswith("refs/") for ref in refs("gitlab", "--upload-pack=touch /tmp/x"))
