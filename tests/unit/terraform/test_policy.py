"""Rego policies: they may deny, and raise the risk."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from triplane.core.change import Risk
from triplane.core.errors import InputError
from triplane.terraform.policy import Verdict, evaluate

PLAN = {
    "format_version": "1.2",
    "resource_changes": [
        {"address": "aws_s3_bucket.logs", "type": "aws_s3_bucket", "change": {"actions": ["delete"]}}
    ],
}
DENY = """package triplane
import rego.v1
deny contains text if {
    some item in input.resource_changes
    item.type == "aws_s3_bucket"
    "delete" in item.change.actions
    text := sprintf("%s: buckets are kept", [item.address])
}
"""


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (DENY, Verdict(("aws_s3_bucket.logs: buckets are kept",))),
        ('package triplane\nrisk := "high" if { count(input.resource_changes) > 0 }', Verdict((), Risk.HIGH)),
        ('package triplane\nrisk := "high" if { count(input.resource_changes) > 9 }', Verdict()),
        ('package triplane\ndeny[text] { text := "the old way" }', Verdict(("the old way",))),
    ],
)
def test_a_verdict(tmp_path: Path, text: str, verdict: Verdict) -> None:
    (tmp_path / "rules.rego").write_text(text)
    assert evaluate(PLAN, tmp_path) == verdict


def test_several_files_are_one_package(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text(DENY)
    (tmp_path / "b.rego").write_text('package triplane\nrisk := "critical"')
    assert evaluate(PLAN, tmp_path) == Verdict(("aws_s3_bucket.logs: buckets are kept",), Risk.CRITICAL)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("package triplane\n\ndeny contains x if {", r"rules\.rego:3: .*unclosed"),
        ("package other\nx := 1", "no rules in package triplane"),
        ('package triplane\nrisk := "enormous"', "risk must be one of none, low, .*'enormous'"),
        ("package triplane\ndeny contains 3", "deny must be a set of texts"),
        ('package triplane\nrisk := "low"\nrisk := "high"', "more than one value"),
        ("", r"rules\.rego"),
    ],
)
def test_a_bad_policy_is_said_clearly(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "rules.rego").write_text(text)
    with pytest.raises(InputError, match=match):
        evaluate(PLAN, tmp_path)


def test_a_folder_without_policies(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.rego file"):
        evaluate(PLAN, tmp_path)


@pytest.mark.parametrize(
    ("library", "said"),
    [
        ("raise ImportError", r"pip install 'airflow-provider-triplane\[policy\]'"),
        ('raise OSError("libatomic.so.1: cannot open shared object file")', "libatomic.so.1: .*libatomic1"),
    ],
)
def test_what_is_not_installed_is_named(
    library: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "regopy.py").write_text(library)
    (tmp_path / "deny.rego").write_text(DENY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "regopy", raising=False)
    with pytest.raises(InputError, match=said):
        evaluate(PLAN, tmp_path)
