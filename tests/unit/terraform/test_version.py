"""Terraform's version constraints."""

from __future__ import annotations

from pathlib import Path

import pytest

from triplane.core.constraints import accepts
from triplane.core.errors import InputError
from triplane.terraform.version import Version, check, check_backend, parse, required

TERRAFORM, TOFU = Version("terraform", "1.11.4"), Version("tofu", "1.10.6")


@pytest.mark.parametrize(
    ("constraints", "version", "fits"),
    [
        ("1.11.4", "1.11.4", True),
        ("= 1.11.4", "1.11.5", False),
        (">= 1.9", "1.11.4", True),
        ("> 1.11.4", "1.11.4", False),
        ("~> 1.9", "1.11.4", True),
        ("~> 1.9", "2.0.0", False),
        ("~> 1.11.0", "1.11.4", True),
        ("~> 1.11.0", "1.12.0", False),
        ("~> 1", "1.11.4", True),
        (">= 1.9, < 1.11", "1.10.5", True),
        (">=1.9,<1.11", "1.11.4", False),
        (">= 1.9, != 1.11.4", "1.11.4", False),
        (">= 1.9", "1.12.0-beta1", False),
        ("1.12.0-beta1", "1.12.0-beta1", True),
    ],
)
def test_accepts(constraints: str, version: str, fits: bool) -> None:
    assert accepts(constraints, version) is fits


def test_where_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('terraform {\n  required_version = "~> 1.9"\n}\n')
    (tmp_path / "more.tf.json").write_text('{"terraform": {"required_version": ">= 1.8"}}')
    assert required(tmp_path) == {"main.tf:2": "~> 1.9", "more.tf.json": ">= 1.8"}
    check(tmp_path, TERRAFORM)
    with pytest.raises(
        InputError, match=r'main\.tf:2: required_version = "~> 1\.9" does not accept tofu 2\.0\.0'
    ):
        check(tmp_path, Version("tofu", "2.0.0"))
    with pytest.raises(InputError, match=r"terraform 1\.5\.7 is too old: >= 1\.9"):
        check(tmp_path, Version("terraform", "1.5.7"))


def test_what_the_platform_spec_says_holds_for_every_stack(tmp_path: Path) -> None:
    check(tmp_path, TERRAFORM, "~> 1.11")
    with pytest.raises(
        InputError,
        match=r'the platform spec: required_version = "~> 1\.9\.0" does not accept terraform 1\.11\.4',
    ):
        check(tmp_path, TERRAFORM, "~> 1.9.0")


def test_only_opentofu_reads_tofu_files(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('terraform {\n  required_version = "~> 1.11"\n}\n')
    (tmp_path / "main.tofu").write_text('terraform {\n  required_version = "~> 1.9"\n}\n')
    (tmp_path / "more.tofu.json").write_text('{"terraform": {"required_version": ">= 1.8"}}')
    assert required(tmp_path) == {"main.tf:2": "~> 1.11"}
    assert required(tmp_path, tofu=True) == {"main.tofu:2": "~> 1.9", "more.tofu.json": ">= 1.8"}
    check(tmp_path, TERRAFORM)
    check(tmp_path, TOFU)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("Terraform v1.11.4\non linux_amd64\n", "terraform 1.11.4"),
        ("OpenTofu v1.10.6\non linux_amd64\n+ provider registry.opentofu.org/a/b v1.0.0\n", "tofu 1.10.6"),
        ("a wrapper's own line\nOpenTofu v1.12.0-beta1\n", "tofu 1.12.0-beta1"),
    ],
)
def test_who_it_is(said: str, version: str) -> None:
    assert str(parse(said)) == version


def test_something_else() -> None:
    with pytest.raises(InputError, match=r"neither Terraform nor OpenTofu.*'Helm v4'"):
        parse("Helm v4")


def test_a_lock_file_in_s3_needs_a_newer_one() -> None:
    check_backend({"use_lockfile": True}, TERRAFORM)
    check_backend({"dynamodb_table": "t"}, Version("tofu", "1.9.1"))
    with pytest.raises(InputError, match=r"tofu 1\.9\.1 cannot lock .* \(`lock_table`\)"):
        check_backend({"use_lockfile": True}, Version("tofu", "1.9.1"))


def test_nonsense(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('terraform {\n  required_version = "newest"\n}\n')
    with pytest.raises(InputError, match=r"main\.tf:2: 'newest' is not a version constraint"):
        check(tmp_path, TERRAFORM)
