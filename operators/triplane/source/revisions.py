"""What a revision is called at a forge: branches, tags, commits, and the heads of pull and merge requests."""

from __future__ import annotations

import re
from collections.abc import Mapping

from triplane.core.errors import InputError
from triplane.core.git import is_commit

REQUESTS = {
    "github": (re.compile(r"pull/(\d+)"), "refs/pull/{}/head"),
    "gitlab": (re.compile(r"(?:!|merge-requests/)(\d+)"), "refs/merge-requests/{}/head"),
}
"""Kind of forge -> how people call a request to merge, and the ref that is its newest commit."""
FORMS = {"github": "`pull/12`", "gitlab": "`!12`"}


def refs(kind: str, revision: str) -> tuple[str, ...]:
    """The full names that ``revision`` may stand for; none for a commit's full id, which needs no looking up."""
    if is_commit(revision):
        return ()
    if revision == "HEAD" or revision.startswith("refs/"):
        return (revision,)
    pattern, request = REQUESTS[kind]
    number = pattern.fullmatch(revision)
    found = (request.format(number[1]),) if number else ()
    return (*found, f"refs/heads/{revision}", f"refs/tags/{revision}")


def listed(text: str) -> dict[str, str]:
    """Ref -> commit, of what ``git ls-remote`` prints. An annotated tag is the commit that it is of."""
    rows = [line.split("\t", 1) for line in text.splitlines() if "\t" in line]
    found = {ref: commit for commit, ref in rows if not ref.endswith("^{}")}
    return found | {ref.removesuffix("^{}"): commit for commit, ref in rows if ref.endswith("^{}")}


def chosen(kind: str, revision: str, there: Mapping[str, str]) -> str:
    """The commit that ``revision`` is, where the repository has the refs ``there``.

    :raises InputError: there is no such revision, or there are two
    """
    found = {ref: there[ref] for ref in refs(kind, revision) if ref in there}
    if len(set(found.values())) > 1:
        raise InputError(f"{revision} may be {' or '.join(found)}: ask for one of them by that name")
    if not found:
        raise InputError(
            f"the repository has no {revision!r}: ask for a branch, a tag, {FORMS[kind]}, or a commit by all its digits"
        )
    return next(iter(found.values()))
