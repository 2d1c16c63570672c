from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from triplane.core.errors import InputError
from triplane.machines.hosts import (
    Host,
    as_values,
    batches,
    digest_of,
    environment,
    inventory,
    of_inventory,
    parse,
)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBn7"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["10.0.0.1"], [("10.0.0.1", "10.0.0.1", None)]),
        ({"web": "10.0.0.1"}, [("web", "10.0.0.1", None)]),
        ({"web": {"address": "a.example", "port": "2222"}}, [("web", "a.example", 2222)]),
        ([{"name": "web", "address": "::1"}], [("web", "::1", None)]),
        (json.dumps({"web": "10.0.0.1"}), [("web", "10.0.0.1", None)]),
        ([], []),
    ],
)
def test_forms(value: Any, expected: list[tuple[str, str, int | None]]) -> None:
    assert [(host.name, host.address, host.port) for host in parse(value)] == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10.0.0.1", "neither a list"),
        (3, "of type int"),
        ({"web": {"port": 22}}, "host web: give its address"),
        ({"web": {"address": "x", "pasword": "y"}}, "host web: give its address"),
        (["-oProxyCommand=x"], "is no valid name"),
        ({"web": "-oProxyCommand=x"}, "'-oProxyCommand=x' is no valid address"),
        ({"web": {"address": "x", "user": "a b"}}, "is no valid user"),
        ({"web": {"address": "x", "host_key": "ssh-ed25519 AAAA\n* ssh-rsa BBBB"}}, "is no valid host_key"),
        ([{"name": "a", "address": "x"}, {"name": "a", "address": "y"}], "several hosts called a"),
        ({"web": {"address": "x", "variables": {"a') | x": 1}}}, "is no name of a variable"),
        ({"web": {"address": "x", "variables": ["a"]}}, "variables are a mapping"),
    ],
)
def test_what_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(value)


def test_an_inventory_holds_values_and_no_templates() -> None:
    hosts = parse(
        {"web": {"address": "10.0.0.1", "port": 22, "user": "admin", "variables": {"motd": "{{ x }}"}}}
    )
    text = inventory("my-workers", hosts)
    assert '!unsafe "{{ x }}"' in text

    class Loader(yaml.SafeLoader): ...

    Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))  # type: ignore[arg-type]
    body = yaml.load(text, Loader)["all"]["children"]["my_workers"]
    assert body["hosts"]["web"] == {
        "motd": "{{ x }}", "ansible_host": "10.0.0.1", "ansible_port": 22, "ansible_user": "admin",
    }  # fmt: skip


def test_secret_variables_are_looked_up_in_the_environment() -> None:
    hosts = parse(
        {
            "a": {"address": "10.0.0.1", "user": "admin", "variables": {"token": "Pl4nted", "ports": [1, 2]}},
            "b": {"address": "10.0.0.2", "variables": {"token": "{{ Pl4nted }}"}},
        }
    )
    text = inventory("web", hosts, secret=True)
    assert "Pl4nted" not in text
    assert "lookup('ansible.builtin.env', 'TRIPLANE_HOST_1') | from_json)['token'] }}" in text
    assert 'ansible_host: !unsafe "10.0.0.1"' in text
    assert environment(hosts) == {
        "TRIPLANE_HOST_0": '{"token": "Pl4nted", "ports": [1, 2]}',
        "TRIPLANE_HOST_1": '{"token": "{{ Pl4nted }}"}',
    }


def test_values_of_all_kinds() -> None:
    assert as_values({"a": [1, True, None], "b": {"c": "x"}}) == (
        'a:\n- 1\n- true\n- null\nb:\n  c: !unsafe "x"\n'
    )


def test_what_ansible_lists() -> None:
    listed = {
        "_meta": {
            "hostvars": {"b": {"ansible_host": {"__ansible_unsafe": "10.0.0.2"}, "ansible_port": 2222}}
        },
        "all": {"children": ["web"]},
        "web": {"hosts": ["b", "a"]},
    }
    assert of_inventory(listed) == (
        Host(name="a", address="a"),
        Host(name="b", address="10.0.0.2", port=2222),
    )


def test_the_digest_is_of_who_and_where() -> None:
    one = parse({"web": {"address": "10.0.0.1", "host_key": KEY}})
    assert digest_of(one) == digest_of(parse({"web": {"address": "10.0.0.1", "port": 22, "host_key": KEY}}))
    assert digest_of(one) != digest_of(parse({"web": {"address": "10.0.0.1", "host_key": KEY + "x"}}))
    assert digest_of(one) != digest_of(parse({"web": {"address": "10.0.0.2", "host_key": KEY}}))


@pytest.mark.parametrize(
    ("serial", "expected"),
    [
        ([], [["a", "b", "c", "d", "e"]]),
        ([2], [["a", "b"], ["c", "d"], ["e"]]),
        ([1, 3], [["a"], ["b", "c", "d"], ["e"]]),
        (["40%"], [["a", "b"], ["c", "d"], ["e"]]),
        ([1, "100%"], [["a"], ["b", "c", "d", "e"]]),
        (["1%"], [["a"], ["b"], ["c"], ["d"], ["e"]]),
    ],
)
def test_batches(serial: list[int | str], expected: list[list[str]]) -> None:
    assert batches(list("abcde"), serial) == expected
    assert batches([], serial) == []
