"""What the plans of the corpus are made from: every step but the last is applied, the last one is planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEAD = """
terraform {
  required_providers {
    lab = { source = "example.test/lab/lab" }
  }
}
"""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """``steps`` are HCL, ``files`` more files of the configuration. Before the last step come ``commands``
    (of Terraform) and ``drift``: what somebody else makes of the things in the cloud, None is deleted.
    """

    steps: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[tuple[str, ...], ...] = ()
    drift: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()


ONE = 'resource "lab_thing" "a" { name = "a" }\n'
TWO = ONE + 'resource "lab_thing" "b" { name = "b" }\n'
STUCK = """
resource "lab_thing" "a" {
  name = "%s"
  lifecycle { create_before_destroy = true }
}
"""
SECRETS = """
variable "key" {
  default   = "%(key)s"
  sensitive = true
}
variable "keys" {
  default   = { one = "%(key)s-one", two = ["%(key)s-two"], three = "%(key)s-three" }
  sensitive = true
}
resource "lab_thing" "attribute" {
  name   = "attribute"
  secret = "%(key)s-attribute"
}
resource "lab_thing" "variable" {
  name  = "variable"
  tags  = { open = "%(open)s", hidden = var.key }
  rules = ["%(open)s", var.keys.two[0]]
}
resource "lab_thing" "name" {
  name = var.keys.one
}
resource "terraform_data" "deep" {
  input            = { open = "%(open)s", deep = [{ a = var.key, b = { c = var.keys } }] }
  triggers_replace = [var.key]
}
resource "terraform_data" "whole" {
  input = %(whole)s
}
output "hidden" {
  value     = var.keys
  sensitive = true
}
output "open" {
  value = "%(open)s"
}
"""
BARE = """
resource "lab_thing" "attribute" {
  name = "attribute"
}
resource "lab_thing" "variable" {
  name = "variable"
}
resource "terraform_data" "deep" {
  input = "%(open)s"
}
"""
MODULE = """
variable "names" { type = set(string) }
resource "lab_thing" "this" {
  for_each = var.names
  name     = each.key
}
output "ids" { value = { for key, thing in lab_thing.this : key => thing.id } }
"""
CALLS = """
module "one" {
  source = "./module"
  names  = %s
}
module "many" {
  source   = "./outer"
  for_each = { "a b" = ["x"], "ü.\\"q\\"" = ["y", "z"] }
  names    = each.value
}
output "ids" { value = module.many }
"""
OUTER = """
variable "names" { type = set(string) }
module "inner" {
  source = "../module"
  names  = var.names
}
output "inner" { value = module.inner.ids }
"""
MODULES = {"module/main.tf": MODULE, "outer/main.tf": OUTER}
VALUES = """
resource "lab_thing" "a" {
  name    = "a"
  size    = %s
  enabled = %s
  tags    = %s
  rules   = %s
  members = %s
}
"""
CHECKED = """
variable "size" { default = 1 }
resource "lab_thing" "a" {
  name = "a"
  size = var.size
  lifecycle {
    precondition {
      condition     = var.size %s
      error_message = "too large"
    }
  }
}
check "name" {
  assert {
    condition     = lab_thing.a.name == "b"
    error_message = "not b"
  }
}
"""
ALIASES = """
provider "lab" { region = "one" }
provider "lab" {
  alias  = "two"
  region = "two"
}
resource "lab_thing" "two" {
  provider = lab.two
  name     = "two"
}
"""
READ = TWO + 'data "lab_look" "b" { id = lab_thing.b.id }\noutput "name" { value = data.lab_look.b.name }\n'
TRIGGERED = """
resource "lab_thing" "a" {
  name = "a"
  size = %d
}
resource "lab_thing" "b" {
  name = "b"
  lifecycle { replace_triggered_by = [lab_thing.a.size] }
}
"""
UNKNOWN = """
resource "lab_thing" "a" {
  name = "a"
  size = %d
}
resource "terraform_data" "b" {
  input = { known = 1, version = lab_thing.a.version, deep = [{ version = lab_thing.a.version }, "x"] }
}
resource "terraform_data" "c" {
  input = [for name in ["x"] : { version = lab_thing.a.version }]
}
output "version" { value = lab_thing.a.version }
output "deep" { value = { version = lab_thing.a.version, known = true } }
"""
SEVEN = 'resource "lab_thing" "b" {\n  name = "b"\n  size = 7\n}\n'
IMPORT = 'import {\n  to = lab_thing.b\n  id = "id-b"\n}\n'
MOVED = "moved {\n  from = lab_thing.%s\n  to   = lab_thing.%s\n}\n"
REMOVED = "removed {\n  from = lab_thing.b\n  lifecycle { destroy = false }\n}\n"
COUNT = 'resource "lab_thing" "a" {\n  count = %d\n  name  = "a"\n}\n'
FOREIGN = {"id-b": {"name": "b", "size": 7, "id": "id-b", "version": "1"}}

OLD = {"key": "hunter2hunter2", "open": "one", "whole": "var.key"}
NEW = {"key": "correct-horse", "open": "two", "whole": '"correct-horse"'}

SCENARIOS = {
    "aliases": Scenario(steps=(ALIASES,)),
    "checks": Scenario(steps=(CHECKED % "< 5",)),
    "create": Scenario(steps=(TWO,)),
    "create_before_destroy": Scenario(steps=(STUCK % "a", STUCK % "b")),
    "data_source": Scenario(steps=(ONE, READ)),
    "delete": Scenario(steps=(TWO, ONE)),
    "deposed": Scenario(steps=(STUCK % "stuck", STUCK % "b", STUCK % "b")),
    "destroy": Scenario(steps=(READ, READ), options=("-destroy",)),
    "drift": Scenario(steps=(TWO, TWO), drift={"id-a": {"size": 9}}),
    "drift_deleted": Scenario(steps=(TWO, TWO), drift={"id-b": None}),
    "drift_of_secrets": Scenario(
        steps=(SECRETS % OLD, SECRETS % OLD),
        drift={
            "id-attribute": {"secret": "somebody-elses"},
            "id-variable": {"tags": {"open": "three", "hidden": "also-mine"}},
        },
    ),
    "drift_refresh_only": Scenario(steps=(TWO, TWO), drift={"id-a": {"size": 9}}, options=("-refresh-only",)),
    "empty": Scenario(steps=("",)),
    "errored": Scenario(steps=(CHECKED % "< 1",)),
    "forget": Scenario(steps=(TWO, ONE + REMOVED)),
    "import": Scenario(steps=(ONE, ONE + SEVEN + IMPORT), drift=FOREIGN),
    "import_and_update": Scenario(steps=(ONE, TWO + IMPORT), drift=FOREIGN),
    "modules": Scenario(steps=(CALLS % '["n"]',), files=MODULES),
    "modules_change": Scenario(steps=(CALLS % '["n"]', CALLS % '["m"]'), files=MODULES),
    "move": Scenario(steps=(ONE, ONE.replace('" "a"', '" "z"') + MOVED % ("a", "z"))),
    "move_and_drift": Scenario(
        steps=(ONE, ONE.replace('" "a"', '" "z"') + MOVED % ("a", "z")), drift={"id-a": {"size": 9}}
    ),
    "move_to_count": Scenario(steps=(ONE, COUNT % 2)),
    "no_changes": Scenario(steps=(TWO, TWO)),
    "outputs_only": Scenario(steps=(ONE, ONE + 'output "id" { value = lab_thing.a.id }\n')),
    "replace": Scenario(steps=(ONE, ONE.replace('name = "a"', 'name = "other"'))),
    "replace_by_request": Scenario(steps=(ONE, ONE), options=("-replace=lab_thing.a",)),
    "replace_tainted": Scenario(steps=(ONE, ONE), commands=(("taint", "lab_thing.a"),)),
    "replace_triggered": Scenario(steps=(TRIGGERED % 1, TRIGGERED % 2)),
    "secrets_change": Scenario(steps=(SECRETS % OLD, SECRETS % NEW)),
    "secrets_removed": Scenario(steps=(SECRETS % OLD, BARE % OLD)),
    "secrets_create": Scenario(steps=(SECRETS % OLD,)),
    "secrets_destroy": Scenario(steps=(SECRETS % OLD, SECRETS % OLD), options=("-destroy",)),
    "target": Scenario(steps=(TWO,), options=("-target=lab_thing.a",)),
    "unknown": Scenario(steps=(UNKNOWN % 1, UNKNOWN % 2)),
    "unknown_create": Scenario(steps=(UNKNOWN % 1,)),
    "values": Scenario(
        steps=(
            VALUES % ("1.25", "true", '{ "a.b" = "1", "c" = "2" }', '["x", "y"]', '["p", "q"]'),
            VALUES % ("123456789012", "false", '{ "c" = "`3`\\n" }', '["y", "é", "x"]', "null"),
        )
    ),
}
