"""Terraform behind OpenTofu's command line: ``fake_tofu.py TERRAFORM [ARG ...]``.

It accepts what OpenTofu accepts (``internal/command/arguments`` of its source) and refuses the rest; it says that it is
OpenTofu, reads ``.tofu`` files, and encrypts plans where ``TF_ENCRYPTION`` is set. What it does not show: providers of
``registry.opentofu.org`` by their short names, and encrypted states.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "1.10.6"
VIEW = {"json", "no-color", "compact-warnings", "concise", "consolidate-warnings", "consolidate-errors"}
VARS = {"var", "var-file"}
LOCK = {"lock", "lock-timeout"}
STATE = LOCK | {"state", "state-out", "backup"}
OPERATION = {"parallelism", "refresh", "refresh-only", "destroy", "target", "exclude", "replace", "input"}
FLAGS = {
    "init": VIEW
    | VARS
    | LOCK
    | {
        "input",
        "backend",
        "cloud",
        "backend-config",
        "get",
        "upgrade",
        "plugin-dir",
        "lockfile",
        "reconfigure",
    },
    "plan": VIEW | VARS | STATE | OPERATION | {"detailed-exitcode", "out", "generate-config-out"},
    "apply": VIEW | VARS | STATE | OPERATION | {"auto-approve"},
    "show": {"json", "no-color"} | VARS,
    "version": {"json"},
    "force-unlock": {"force"} | VARS,
    "state pull": VARS,
    "state push": LOCK | VARS | {"force", "ignore-remote-version"},
}
ARGUMENTS = {"apply": {0, 1}, "show": {0, 1}, "force-unlock": {1}, "state push": {1}}


def main(terraform: str, arguments: list[str]) -> int:
    command, rest = check(arguments)
    if command == "version":
        return version("-json" in rest)
    read_tofu_files()
    with tempfile.TemporaryDirectory() as scratch:
        plan = (
            Path(rest[-1]) if command in ("show", "apply") and rest and not rest[-1].startswith("-") else None
        )
        if plan is not None:
            decrypted = Path(scratch) / "plan"
            decrypted.write_bytes(decrypt(plan.read_bytes()))
            rest[-1] = str(decrypted)
        code = run([terraform, *command.split(), *rest])
    out = next((flag.removeprefix("-out=") for flag in rest if flag.startswith("-out=")), None)
    if out and code in (0, 2):
        Path(out).write_bytes(encrypt(Path(out).read_bytes()))
    return code


def check(arguments: list[str]) -> tuple[str, list[str]]:
    """The command and its arguments; ends the program as OpenTofu does if it does not know one."""
    words = 2 if arguments[:1] == ["state"] else 1
    command, rest = " ".join(arguments[:words]), arguments[words:]
    if command not in FLAGS:
        sys.exit(f'OpenTofu has no command named "{command}".')
    flags = [item for item in rest if item.startswith("-")]
    for flag in flags:
        if flag.lstrip("-").partition("=")[0] not in FLAGS[command]:
            fail(f"flag provided but not defined: {flag.partition('=')[0]}")
    if len(rest) - len(flags) not in ARGUMENTS.get(command, {0}):
        fail("Unexpected argument")
    if command == "apply" and "-json" in rest and len(rest) == len(flags) and "-auto-approve" not in rest:
        fail("Plan file or auto-approve required")
    return command, rest


def fail(said: str) -> None:
    print(f"Error: Failed to parse command-line flags\n\n{said}", file=sys.stderr)
    sys.exit(1)


def version(as_json: bool) -> int:
    if as_json:
        print(
            json.dumps({"terraform_version": VERSION, "platform": "linux_amd64", "provider_selections": {}})
        )
    else:
        print(f"OpenTofu v{VERSION}\non linux_amd64")
    return 0


def read_tofu_files() -> None:
    """``a.tofu`` is read, and ``a.tf`` is not."""
    for path in [*Path().glob("*.tofu"), *Path().glob("*.tofu.json")]:
        target = Path(path.name.replace(".tofu", ".tf"))
        if not target.exists() or target.read_bytes() != path.read_bytes():
            target.write_bytes(path.read_bytes())


def encrypt(plan: bytes) -> bytes:
    if not os.environ.get("TF_ENCRYPTION"):
        return plan
    data = base64.b64encode(plan).decode()
    return json.dumps({"meta": {}, "encrypted_data": data, "encryption_version": "v0"}).encode()


def decrypt(plan: bytes) -> bytes:
    if plan.startswith(b"PK"):
        return plan
    if not os.environ.get("TF_ENCRYPTION"):
        fail("the given plan file is encrypted and requires a valid encryption configuration to decrypt")
    return base64.b64decode(json.loads(plan)["encrypted_data"])


def run(argv: list[str]) -> int:
    """Run Terraform, and say its lines as OpenTofu says them."""
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: process.send_signal(number))
    assert process.stdout is not None
    for line in process.stdout:
        sys.stdout.write(translated(line.decode()))
        sys.stdout.flush()
    return process.wait()


def translated(line: str) -> str:
    if '"@module":"terraform.ui"' in line:
        line = line.replace('"@module":"terraform.ui"', '"@module":"tofu.ui"')
        line = re.sub(r'"terraform":"[^"]*"', f'"tofu":"{VERSION}"', line)
        return re.sub(
            r"Terraform( \d+\.\d+\.\d+)?", lambda m: f"OpenTofu {VERSION}" if m[1] else "OpenTofu", line
        )
    return line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
