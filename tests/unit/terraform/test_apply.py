from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from triplane.core.errors import InputError, RefusedError, StaleError
from triplane.core.ledger import Entry, Ledger
from triplane.core.references import holds_secret
from triplane.terraform import attempt as apply
from triplane.terraform import workspace
from triplane.terraform.plan import State
from triplane.terraform.stack import variables_digest

ATTEMPT = apply.Attempt(address="aws/stack/n", key="sha256:1", run="d/1", lineage="l", serial=3)
BEFORE, AFTER = State(lineage="l", serial=3), State(lineage="l", serial=4)


def entries(*kinds: str, key: str = "sha256:1", run: str = "d/1") -> list[Entry]:
    body = {"key": key, "run": run, "lineage": "l", "serial": 4}
    return [Entry(i, "", f"terraform.{kind}", "noon", body) for i, kind in enumerate(kinds)]


def held(*kinds: str) -> list[Entry]:
    """Asked about another plan, and what became of that."""
    body = {"key": "sha256:1", "run": "d/1", "plan": "sha256:2"}
    return [Entry(0, "", "terraform.held", "noon", body), *entries(*kinds, key="sha256:2")]


@pytest.mark.parametrize(
    ("state", "history", "expected"),
    [
        (BEFORE, [], "apply"),
        (BEFORE, entries("applying", "applied", key="sha256:2"), "apply"),
        (BEFORE, entries("applying", "not_started"), "apply"),
        (AFTER, entries("applying", "applied"), "done"),
        (BEFORE, entries("applying"), "again"),
        (AFTER, entries("applying", "failed"), "again"),
        (BEFORE, held(), "again"),
        (BEFORE, held("applying"), "again"),
        (AFTER, held("applying", "applied"), "done"),
        (State(lineage="l", serial=5), held("applying", "applied"), "again"),
    ],
)
def test_decide(state: State, history: list[Entry], expected: str) -> None:
    assert apply.decide(ATTEMPT, state, history) == expected


@pytest.mark.parametrize(
    ("state", "history", "error", "match"),
    [
        (AFTER, [], StaleError, "approved for serial 3 of lineage l, but there is now serial 4"),
        (State(), [], StaleError, "there is now no state"),
        (State(lineage="other", serial=3), [], StaleError, "lineage other"),
        (AFTER, entries("applying", "not_started"), StaleError, "approved for serial 3"),
        (BEFORE, entries("applying", run="d/2"), RefusedError, "d/2 began .* did not finish"),
        (BEFORE, entries("applying", "failed", run="d/2"), RefusedError, "d/2 began .* failed"),
        (AFTER, entries("applying", "applied", run="d/2"), RefusedError, "applied at noon by d/2"),
        (State(lineage="l", serial=5), entries("applying", "applied"), RefusedError, "applied once"),
        (State(), entries("applying", "applied"), RefusedError, "applied once"),
    ],
)
def test_decide_refuses(state: State, history: list[Entry], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        apply.decide(ATTEMPT, state, history)


def test_only_one_of_two_tasks_begins(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "staging/aws")
    apply.begin(ledger, ATTEMPT, plan="p")
    with pytest.raises(RefusedError, match="d/1 is applying this plan already"):
        apply.begin(ledger, replace(ATTEMPT, run="d/2"), plan="p")
    other = Ledger(tmp_path, "staging/gcp")
    apply.begin(other, ATTEMPT, plan="p")
    other.append(apply.NOT_STARTED, ATTEMPT.body())
    apply.begin(other, ATTEMPT, plan="p")


def test_a_copy_keeps_relative_paths_and_leaves_state_behind(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for name, text in {
        "infra/aws/network/main.tf": 'module "m" { source = "../../modules/m" }\nresource "aws_vpc" "x" {}',
        "infra/aws/network/terraform.tfstate": "{}",
        "infra/aws/network/.terraform/x": "",
        "infra/modules/m/main.tf": 'resource "aws_iam_role" "r" {}',
        "services/big": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    copy = workspace.copy_stack(root, "infra/aws/network", tmp_path / "copy")
    assert sorted(path.name for path in copy.iterdir()) == ["main.tf"]
    assert (copy / "../../modules/m/main.tf").exists()
    assert (tmp_path / "copy" / "services").is_symlink()
    assert workspace.resource_types(copy) == {"aws_vpc"}
    (copy / ".terraform/modules").mkdir(parents=True)
    manifest = '{"Modules": [{"Key": "", "Dir": "."}, {"Key": "m", "Dir": "../../modules/m"}]}'
    (copy / ".terraform/modules/modules.json").write_text(manifest)
    assert workspace.resource_types(copy) == {"aws_vpc", "aws_iam_role"}
    with pytest.raises(InputError, match="leads out of the source"):
        workspace.copy_stack(root, "../x", tmp_path / "c2")
    with pytest.raises(InputError, match="is not a folder"):
        workspace.copy_stack(root, "nowhere", tmp_path / "c3")


def test_split() -> None:
    assert workspace.split("/srv/infra//aws/network") == (Path("/srv/infra"), "aws/network")
    assert workspace.split("/srv/infra") == (Path("/srv/infra"), ".")


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("main.tf", 'terraform {\n  backend "s3" {}\n}', True),
        ("main.tf", "terraform {\n  cloud {\n  }\n}", True),
        ("main.tf", "# a backend\n", False),
        ("main.tf.json", '{"terraform": {"backend": {"s3": {}}}}', True),
        ("main.tf.json", '{"terraform": [{}, {"backend": {"s3": {}}}]}', True),
        ("main.tf.json", '{"locals": {"cloud": 1}}', False),
    ],
)
def test_has_backend(tmp_path: Path, name: str, text: str, found: bool) -> None:
    (tmp_path / name).write_text(text)
    assert workspace.has_backend(tmp_path) is found


@pytest.mark.parametrize(
    ("shadowed", "tofu"), [("main.tf", "main.tofu"), ("main.tf.json", "main.tofu.json"), ("a.tf", "b.tofu")]
)
def test_only_opentofu_reads_tofu_files(tmp_path: Path, shadowed: str, tofu: str) -> None:
    """A backend that Terraform does not see would let it keep the state in the working copy."""
    is_json = tofu.endswith(".json")
    backend = {"terraform": {"backend": {"s3": {}}}, "resource": {"aws_vpc": {}}}
    (tmp_path / shadowed).write_text("{}" if is_json else 'resource "aws_subnet" "s" {}\n')
    hcl = 'terraform {\n  backend "s3" {}\n}\nresource "aws_vpc" "v" {}\n'
    (tmp_path / tofu).write_text(json.dumps(backend) if is_json else hcl)
    assert not workspace.has_backend(tmp_path)
    assert workspace.has_backend(tmp_path, tofu=True)
    assert "aws_vpc" not in workspace.resource_types(tmp_path)
    types = workspace.resource_types(tmp_path, tofu=True)
    assert types == ({"aws_vpc", "aws_subnet"} if shadowed == "a.tf" else {"aws_vpc"})


def test_secret_variables() -> None:
    assert holds_secret("${variable.db}")
    assert holds_secret({"a": ["x-${connection.c}"]})
    assert not holds_secret("${network.vpc_id}")
    assert variables_digest({"a": 1}, destroy=False) != variables_digest({"a": 1}, destroy=True)
