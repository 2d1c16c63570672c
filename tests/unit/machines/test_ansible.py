from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from triplane.core.errors import InputError
from triplane.machines.ansible import Play, environment, extra_vars, find, inventory_args, playbook_args
from triplane.machines.credentials import as_ansible

INVENTORY = [Path("/w/a.yml"), Path("/w/b.aws_ec2.yml")]


def test_arguments() -> None:
    args = playbook_args(Play(playbook="site.yml"), INVENTORY, variables=Path("/v"), forks=10)
    assert args == (
        *("site.yml", "--inventory", "/w/a.yml", "--inventory", "/w/b.aws_ec2.yml"),
        *("--extra-vars", "@/v", "--forks", "10", "--diff"),
    )
    play = Play(playbook="site.yml", check=True, limit=("a",))
    assert playbook_args(play, [], variables=Path("/v"), forks=1, limit=Path("/l"))[-3:] == (
        "--check",
        "--limit",
        "@/l",
    )
    assert inventory_args(INVENTORY[:1]) == ("--inventory", "/w/a.yml", "--list")


def test_secrets_are_in_the_environment_alone() -> None:
    text = extra_vars({"level": "{{ x }}"}, ["token"], "-F x")
    assert 'level: !unsafe "{{ x }}"' in text
    assert "token: \"{{ lookup('ansible.builtin.env', 'TRIPLANE_SECRET_token') | from_json }}\"" in text
    env = environment(
        Path("/s"), config=Path("/c"), ssh_args="-F x", key="pem", secrets={"token": {"a": "b"}}
    )
    assert env["TRIPLANE_SECRET_token"] == '{"a": "b"}'
    assert (env["ANSIBLE_PRIVATE_KEY"], env["ANSIBLE_SSH_AGENT"]) == ("pem", "auto")
    assert "ANSIBLE_SSH_AGENT" not in environment(Path("/s"), config=Path("/c"), ssh_args="")


def test_the_check_of_host_keys_cannot_be_switched_off() -> None:
    class Loader(yaml.SafeLoader): ...

    Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))  # type: ignore[arg-type]
    found = yaml.load(extra_vars({"a": "b"}, [], "-F x"), Loader)
    assert (found["ansible_host_key_checking"], found["ansible_ssh_args"]) == (True, "-F x")
    for name in ("ansible_ssh_args", "ansible_host_key_checking", "a-b", "a b", ""):
        with pytest.raises(InputError, match="letters, digits and underscores"):
            extra_vars({name: "x"}, [], "")
        with pytest.raises(InputError, match="letters, digits and underscores"):
            extra_vars({}, [name], "")


def test_credentials_under_the_names_of_collections() -> None:
    assert as_ansible({"AWS_REGION": "x"}) == {"AWS_REGION": "x"}
    google = as_ansible({"GOOGLE_OAUTH_ACCESS_TOKEN": "t", "GOOGLE_PROJECT": "p"})
    assert (google["GCP_ACCESS_TOKEN"], google["GCP_AUTH_KIND"], google["GCP_PROJECT"]) == (
        "t",
        "accesstoken",
        "p",
    )
    assert as_ansible({"ARM_CLIENT_SECRET": "s"})["AZURE_SECRET"] == "s"


def test_ansible_is_there() -> None:
    assert find().endswith("ansible-playbook")
    assert find("/bin/sh") == "/bin/sh"
    for nothing in ("ansible-nothing", "/nowhere/ansible-playbook"):
        with pytest.raises(InputError, match="install the extra `ansible`"):
            find(nothing)
