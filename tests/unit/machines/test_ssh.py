from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from triplane.core.errors import InputError
from triplane.machines.hosts import parse
from triplane.machines.ssh import arguments, config, is_refused, known_hosts

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBn7"


def test_known_hosts() -> None:
    hosts = parse(
        {"a": {"address": "10.0.0.1", "host_key": KEY}, "b": {"address": "h", "port": 2222, "host_key": KEY}}
    )
    assert known_hosts(hosts, []) == f"10.0.0.1 {KEY}\n[h]:2222 {KEY}\n"
    assert known_hosts(hosts, [f"bastion {KEY}\n\n"]).endswith(f"bastion {KEY}\n")
    assert known_hosts(parse(["10.0.0.9"]), [f"10.0.0.9 {KEY}"]) == f"10.0.0.9 {KEY}\n"
    with pytest.raises(InputError, match=r"no host key is known of 10.0.0.9"):
        known_hosts(parse(["10.0.0.9"]), [" \n"])


def test_openssh_understands_it_and_always_checks(tmp_path: Path) -> None:
    file = tmp_path / "ssh_config"
    options = {"ProxyCommand": "nc %h %p | cat", "ServerAliveInterval": 15, "Compression": True}
    file.write_text(config(tmp_path / "known", options, parse(["host"])))
    argv = ["ssh", "-G", "-F", str(file), "-o", "StrictHostKeyChecking=no", "host"]
    found = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()
    assert "proxycommand nc %h %p | cat" in found
    assert "serveraliveinterval 15" in found
    assert "compression yes" in found
    bastion = subprocess.run([*argv[:-1], "bastion"], check=True, capture_output=True, text=True).stdout
    assert "proxycommand" not in bastion, "a way through itself would have no end"
    assert f"userknownhostsfile {tmp_path}/known" in bastion
    assert f"userknownhostsfile {tmp_path}/known" in found
    assert "stricthostkeychecking false" in found, (
        "so the command line has to say it first, as `arguments` does"
    )
    assert arguments(file, tmp_path / "known").startswith(f'-F "{file}" -o StrictHostKeyChecking="yes" ')


@pytest.mark.parametrize(
    "options",
    [
        {"StrictHostKeyChecking": "no"},
        {"userknownhostsfile": "/dev/null"},
        {"Include": "/etc/ssh/other"},
        {"Match": "all"},
        {"IdentityFile": "~/.ssh/id"},
        {"ProxyCommand": "x\nStrictHostKeyChecking no"},
        {"Proxy Command": "x"},
        {"User": " "},
    ],
)
def test_what_is_not_free_to_choose(options: dict[str, str]) -> None:
    with pytest.raises(InputError, match="ssh: "):
        config(Path("known"), options, parse(["10.0.0.1"]))


def test_who_is_somebody_else() -> None:
    assert is_refused("Failed to connect to the host via ssh: Host key verification failed.")
    assert not is_refused("ssh: connect to host 127.0.0.1 port 22: Connection refused")
