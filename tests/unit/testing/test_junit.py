from __future__ import annotations

import pytest

from triplane.core.errors import InputError
from triplane.testing.junit import NAMED, Summary, summarise

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="0" failures="9" skipped="1" tests="99">
<testcase classname="tests.test_api" name="test_one" time="0.001"/>
<testcase classname="tests.test_api" name="test_two"><failure message="no">x</failure></testcase>
<testcase classname="tests.test_api" name="test_three"><skipped type="pytest.skip" message="why"/></testcase>
<testcase classname="" name="tests.test_db"><error message="collection failure">y</error></testcase>
</testsuite></testsuites>"""
NESTED = b'<testsuite><testsuite><testcase name="deep"/></testsuite><testcase name="flat"/></testsuite>'


def test_pytest() -> None:
    found = summarise([PYTEST], 1)
    assert found == Summary(
        commands=1,
        tests=4,
        failures=1,
        errors=1,
        skipped=1,
        failed=("tests.test_api.test_two", "tests.test_db"),
    )
    assert str(found) == "1 of 4 tests passed, 2 failed, 1 skipped: tests.test_api.test_two, tests.test_db"
    assert not found.passed
    assert Summary.from_json(found.to_json()) == found


def test_several_and_nested_reports() -> None:
    found = summarise(
        [NESTED, PYTEST.replace(b"failure", b"x").replace(b"error ", b"x ").replace(b"/error", b"/x")], 2
    )
    assert (found.tests, found.failures, found.errors, found.passed) == (6, 0, 0, True)
    assert str(found) == "5 of 6 tests passed, 1 skipped"


def test_a_report_without_tests_is_no_success() -> None:
    found = summarise([b"<testsuites/>"], 1)
    assert not found.passed
    assert str(found) == "the report holds no tests"


def test_without_a_report_the_commands_count() -> None:
    assert str(Summary(commands=1)) == "1 command ended well"
    assert str(Summary(commands=2)) == "2 commands ended well"
    assert Summary(commands=1).passed


def test_only_the_first_failures_are_named() -> None:
    cases = "".join(f'<testcase name="t{n}"><failure/></testcase>' for n in range(NAMED + 5))
    found = summarise([f"<testsuite>{cases}</testsuite>".encode()], 1)
    assert len(found.failed) == NAMED
    assert str(found).endswith("t19, 5 more")


@pytest.mark.parametrize(
    ("report", "match"),
    [
        (b"<testsuite>", "not XML"),
        (b"<html/>", "begins with <html>"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><testsuite/>', "declares entities"),
    ],
)
def test_what_is_no_report(report: bytes, match: str) -> None:
    with pytest.raises(InputError, match=match):
        summarise([report], 1)
