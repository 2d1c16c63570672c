"""Every verdict, as a table."""

from __future__ import annotations

import math
from typing import Any

import pytest

from triplane.core.errors import InputError
from triplane.gates.check import Check, Reading, Sample, judge
from triplane.gates.verdict import Verdict, Watch, combine

GOOD, BAD, SILENT = True, False, None


def check(**options: Any) -> Check:
    return Check(
        **{"source": "prometheus", "query": {}, "lasting": 60.0, "every": 10.0, "patience": 30.0} | options
    )


def one(value: float) -> Reading:
    return Reading(values=(value,))


@pytest.mark.parametrize(
    ("options", "reading", "reference", "good", "said"),
    [
        ({"at_most": 5}, one(5), None, True, "5 (at most 5)"),
        ({"at_most": 5}, one(5.1), None, False, "5.1 (at most 5)"),
        ({"at_least": 1}, one(1), None, True, "1 (at least 1)"),
        ({"at_least": 1}, one(0), None, False, "0 (at least 1)"),
        ({"at_least": 1, "at_most": 2}, one(1.5), None, True, "1.5 (at least 1 and at most 2)"),
        ({"at_most": 5}, Reading(values=(1, 9, 2)), None, False, "9 (at most 5)"),
        ({"at_most": 5}, Reading(text="no such series"), None, None, "no such series"),
        ({"at_most": 5}, one(math.inf), None, False, "inf"),
        ({}, Reading(good=True, text="it answers"), None, True, "it answers"),
        ({}, Reading(good=False, text="it does not"), None, False, "it does not"),
        ({"at_most": 5}, Reading(values=(1,), ends=(100.0,)), None, None, "from before the gate began"),
        ({"at_most": 5}, Reading(values=(1,), ends=(100.5,)), None, True, "1 "),
        ({"at_most": 5}, Reading(values=(9, 1), ends=(90.0, 100.5)), None, True, "1 "),
        ({"at_most": 5}, Reading(values=(9, 1), ends=(100.5, 90.0)), None, False, "9 "),
        ({"at_most": 2, "against": "before"}, one(1), Reading(values=(1,), ends=(5.0,)), True, "1 x the 1"),
        ({"at_most": 1.2, "against": "before"}, one(12), one(10), True, "12, that is 1.2 x the 10 before"),
        ({"at_most": 1.2, "against": "before"}, one(13), one(10), False, "13, that is 1.3 x the 10 before"),
        ({"at_most": 1.2, "against": "before"}, one(0), one(0), True, "0, that is 1 x the 0 before"),
        ({"at_most": 1.2, "against": "before"}, one(1), one(0), False, "inf x the 0"),
        ({"at_most": 1.2, "against": "before"}, one(1), Reading(), None, "the reference: no data"),
        (
            {"at_most": 3, "against": "before", "by": "difference"},
            one(13),
            one(10),
            True,
            "3 more than the 10",
        ),
        (
            {"at_most": 3, "against": "before", "by": "difference"},
            one(14),
            one(10),
            False,
            "4 more than the 10",
        ),
        ({"at_least": 0.9, "against": "baseline", "baseline": {}}, one(8), one(10), False, "of the baseline"),
        (
            {"at_least": 0.9, "against": "baseline", "baseline": {}},
            one(9),
            one(10),
            True,
            "0.9 x the 10 of the",
        ),
        ({"at_least": 0.9, "against": "baseline", "baseline": {}}, Reading(), one(10), None, "no data"),
        ({"at_least": 0.9, "against": "baseline", "baseline": {}}, one(10), Reading(), None, "no data"),
        (
            {"at_least": 0.9, "against": "baseline", "baseline": {}},
            one(10),
            Reading(values=(1,), ends=(5.0,)),
            None,
            "the reference: the newest value is from before",
        ),
    ],
)
def test_one_sample(
    options: Any, reading: Reading, reference: Reading | None, good: bool | None, said: str
) -> None:
    sample = judge(check(**options), reading, reference, at=110.0, begun=100.0)
    assert sample.good is good
    assert said in sample.text
    assert sample.at == "1970-01-01T00:01:50.000+00:00"


def test_what_cannot_be_compared_is_an_error() -> None:
    compared = check(at_most=1, against="before")
    with pytest.raises(InputError, match="2 series against 1"):
        judge(compared, Reading(values=(1, 2)), one(1), at=2.0, begun=1.0)
    with pytest.raises(InputError, match="say `at_most` or `at_least`"):
        judge(check(), one(1), None, at=2.0, begun=1.0)
    with pytest.raises(InputError, match="need each other"):
        check(against="baseline", at_most=1)
    with pytest.raises(InputError, match="to compare before"):
        check(against="before")


@pytest.mark.parametrize(
    ("no_data", "samples", "state", "decided"),
    [
        ("wait", [(0, GOOD), (30, GOOD), (60, GOOD)], "pass", 60),
        ("wait", [(0, GOOD), (59, GOOD)], None, None),
        ("wait", [(0, BAD)], "fail", 0),
        ("wait", [(0, GOOD), (59, BAD)], "fail", 59),
        ("wait", [(0, SILENT), (50, BAD)], "fail", 50),
        ("wait", [(0, SILENT), (20, GOOD), (80, GOOD)], "pass", 80),
        ("wait", [(0, SILENT), (20, GOOD), (79, GOOD)], None, None),
        ("wait", [(0, GOOD), (20, SILENT), (30, GOOD), (60, GOOD), (90, GOOD)], "pass", 90),
        ("wait", [(0, GOOD), (30, SILENT), (40, GOOD), (95, GOOD), (100, GOOD)], "pass", 100),
        ("wait", [(0, GOOD), (30, SILENT), (40, GOOD), (89, GOOD), (91, SILENT)], "no_data", 91),
        ("wait", [(500, GOOD), (560, GOOD)], "pass", 560),
        ("wait", [(500, SILENT)], "no_data", 500),
        ("wait", [(0, SILENT), (89, SILENT)], None, None),
        ("wait", [(0, SILENT), (90, SILENT)], "no_data", 90),
        ("wait", [(0, GOOD), (60.5, SILENT)], None, None),
        ("fail", [(0, SILENT)], "no_data", 0),
        ("fail", [(0, GOOD), (10, SILENT)], "no_data", 10),
        ("fail", [(0, GOOD), (60, GOOD)], "pass", 60),
        ("fail", [(0, BAD)], "fail", 0),
    ],
)
def test_a_watch(no_data: Any, samples: Any, state: str | None, decided: float | None) -> None:
    watch = Watch(check(no_data=no_data, at_most=1), begun=1000.0)
    found: list[tuple[float, Verdict]] = []
    for moment, good in samples:
        verdict = watch.add(Sample("t", good, "seen"), 1000.0 + moment)
        found += [(moment, verdict)] if verdict else []
    assert [(moment, verdict.state) for moment, verdict in found] == ([(decided, state)] if state else [])
    assert all(verdict.observed == len(samples) for _, verdict in found)


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (("pass", "pass"), "pass"),
        (("pass", "no_data"), "no_data"),
        (("no_data", "fail", "pass"), "fail"),
        ((), "no_data"),
    ],
)
def test_of_several_checks_the_worst_counts(states: Any, worst: str) -> None:
    found = {
        str(n): Verdict(state, f"because {n}", 2, (Sample("t", None, "s"),)) for n, state in enumerate(states)
    }
    verdict = combine(found)
    assert (verdict.state, verdict.passed) == (worst, worst == "pass")
    assert verdict.observed == 2 * len(states)
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_of_many_samples_the_last_are_kept() -> None:
    watch = Watch(check(lasting=2000.0, at_most=1), 0.0)
    for number in range(1000):
        watch.add(Sample(str(number), True, ""), float(number))
    verdict = watch.verdict("pass", "")
    assert (verdict.observed, len(verdict.samples), verdict.samples[-1].at) == (1000, 100, "999")


def test_when_to_look_again() -> None:
    watch = Watch(check(at_most=1), 0.0)
    assert watch.left(0.0) == 90.0
    watch.add(Sample("t", True, ""), 20.0)
    assert watch.left(75.0) == 5.0
