"""JUnit XML, as pytest, Maven, Go, Jest and others write it, counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from triplane.core.errors import InputError

NAMED = 20
"""So many failed tests are named; the others are counted."""
WIDTH = 200
LIMIT = 32_000_000


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What tests said. ``failed`` names the first tests that failed; ``tests`` counts the skipped ones too.

    ``commands`` ran, with or without a report; without one ``tests`` is None.
    """

    commands: int
    tests: int | None = None
    failures: int = 0
    errors: int = 0
    skipped: int = 0
    failed: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing failed; a report without tests is no success."""
        return not self.failures and not self.errors and self.tests != 0

    def __str__(self) -> str:
        if self.tests is None:
            return f"{self.commands} command{'s' if self.commands != 1 else ''} ended well"
        if not self.tests:
            return "the report holds no tests"
        bad = self.failures + self.errors
        counts = [f"{self.tests - bad - self.skipped} of {self.tests} tests passed"]
        counts += [f"{count} {what}" for count, what in ((bad, "failed"), (self.skipped, "skipped")) if count]
        hidden = bad - len(self.failed)
        names = [*self.failed, *([f"{hidden} more"] if self.failed and hidden > 0 else [])]
        return ", ".join(counts) + (f": {', '.join(names)}" if names else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "failed": list(self.failed)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Summary:
        """The inverse of :meth:`to_json`."""
        return cls(**{**value, "failed": tuple(value["failed"])})


def summarise(reports: Iterable[bytes], commands: int) -> Summary:
    """All reports together, counted test by test: what a suite says of itself is not taken.

    :raises InputError: one is not JUnit XML
    """
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    failed: list[str] = []
    for report in reports:
        for case in _cases(report):
            counts["tests"] += 1
            children = {_name(child.tag) for child in case}
            for kind, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
                if kind in children:
                    counts[count] += 1
                    if kind != "skipped":
                        failed.append(_title(case))
                    break
    return Summary(commands=commands, failed=tuple(failed[:NAMED]), **counts)


def _cases(report: bytes) -> Iterator[ElementTree.Element]:
    if len(report) > LIMIT:
        raise InputError(f"a test report of {len(report) / 1e6:.0f} MB is more than {LIMIT / 1e6:g} MB")
    if b"<!DOCTYPE" in report or b"<!ENTITY" in report:
        raise InputError("a test report declares entities, which no JUnit XML does; it is not read")
    try:
        root = ElementTree.fromstring(report)
    except ElementTree.ParseError as error:
        raise InputError(
            f"a test report is not XML: {error}; was the test killed while it wrote it?"
        ) from error
    if _name(root.tag) not in ("testsuites", "testsuite"):
        raise InputError(
            f"a test report begins with <{_name(root.tag)}>, not with <testsuites> or <testsuite>"
        )
    return (element for element in root.iter() if _name(element.tag) == "testcase")


def _name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _title(case: ElementTree.Element) -> str:
    parts = [part for part in (case.get("classname"), case.get("name")) if part]
    text = " ".join(".".join(parts).split()) or "a test without a name"
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
