"""What holds data and what is IAM: real types, and the same in the guide as in the code."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

import pytest

from triplane.core.change import Risk
from triplane.terraform.kinds import DATA, IAM, NOT_IAM
from triplane.terraform.plan import SIGNS, ResourceAction, ResourceChange
from triplane.terraform.risk import holds_data, is_iam, resource_risk

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "guides" / "risk.md").read_text()
TYPES = (ROOT / "tests" / "testdata" / "provider_schemas" / "types.txt").read_text().split()
CLOUDS = {"aws": "aws_", "gcp": "google_", "azure": "azurerm_"}
ELSEWHERE = {
    "azuread_*",
    "azurerm_mariadb_database", "azurerm_mariadb_server", "azurerm_mysql_database", "azurerm_mysql_server",
    "azurerm_sql_database", "azurerm_sql_managed_instance", "azurerm_sql_server",
}  # fmt: skip
"""Of another provider, and of azurerm 3."""
ROWS = {**DATA, "IAM": IAM, "not IAM": NOT_IAM}
NAMES = [(what, cloud, name) for what, row in ROWS.items() for cloud in CLOUDS for name in row[cloud].split()]


def table(title: str) -> list[list[str]]:
    """The cells of the table below a title, without its head."""
    section = GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line.strip("| ") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split(" |")] for line in lines[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize(("what", "cloud", "name"), NAMES)
def test_every_name_is_that_of_a_real_type(what: str, cloud: str, name: str) -> None:
    assert name.startswith(CLOUDS[cloud]) or name in ELSEWHERE
    assert any(fnmatchcase(real, name) for real in TYPES) == (name not in ELSEWHERE)


def test_names_are_sorted_and_no_type_is_in_two_rows_of_data() -> None:
    for row in ROWS.values():
        assert list(row) == list(CLOUDS)
        assert all(cell.split() == sorted(set(cell.split())) for cell in row.values())
    for real in TYPES:
        rows = [what for what, row in DATA.items() for cell in row.values()
                if any(fnmatchcase(real, name) for name in cell.split())]  # fmt: skip
        assert len(set(rows)) <= 1, (real, rows)
        assert not (holds_data(real) and is_iam(real))


def test_the_table_of_types_in_the_guide_is_that_of_the_code() -> None:
    said = {what: dict(zip(CLOUDS, map(names, cells), strict=True)) for what, *cells in table("Which types")}
    assert said == {what: {cloud: row[cloud].split() for cloud in CLOUDS} for what, row in ROWS.items()}


def test_the_table_of_levels_in_the_guide_is_that_of_the_code() -> None:
    rows = {level: set(names(change)) for level, change, _ in table("Levels")}
    assert list(rows) == [str(risk) for risk in Risk]
    assert set(SIGNS) == set(get_args(ResourceAction))
    actions: dict[str, dict[str, set[str]]] = {}
    for kind in ("aws_vpc", "aws_s3_bucket", "aws_iam_role"):
        found = actions.setdefault(kind, {level: set() for level in rows})
        for action in SIGNS:
            risk = resource_risk(ResourceChange(address="a", type=kind, action=action))  # type: ignore[arg-type]
            found[str(risk)].add(action)
    assert {level: found for level, found in actions["aws_vpc"].items() if level != "critical"} == {
        level: found for level, found in rows.items() if level != "critical"
    }
    assert rows["critical"] == actions["aws_s3_bucket"]["critical"] - {"invoke"}
    assert actions["aws_iam_role"]["critical"] == set(SIGNS) - {"read"}


@pytest.mark.parametrize(
    ("real", "data", "iam"),
    [
        ("aws_glacier_vault", True, False),
        ("aws_s3_object", True, False),
        ("google_dataproc_metastore_service", True, False),
        ("azurerm_iothub", True, False),
        ("azurerm_key_vault_certificate", True, False),
        ("azurerm_sql_database", True, False),
        ("azurerm_postgresql_flexible_server_firewall_rule", False, False),
        ("aws_elasticache_parameter_group", False, False),
        ("google_pubsub_topic_iam_member", False, True),
        ("aws_s3_account_public_access_block", False, True),
        ("azurerm_management_lock", False, True),
        ("aws_cloudfront_cache_policy", False, False),
        ("aws_autoscaling_policy", False, False),
        ("aws_sqs_queue_policy", False, True),
    ],
)
def test_what_a_type_is(real: str, data: bool, iam: bool) -> None:
    assert (holds_data(real), is_iam(real)) == (data, iam)
