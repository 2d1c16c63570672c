"""``triplane``: plan, deploy and watch from anywhere; check a spec, print its schema, make keys, run the sandbox."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from triplane.cli import ledger, remote
from triplane.core.errors import TriplaneError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 fine, 1 what was asked about is wrong, 2 wrong usage;
    the commands that talk to Airflow have more (:class:`triplane.cli.exits.Exit`)."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser(words).parse_args(words)
    try:
        result: int = arguments.run(arguments) or 0
    except TriplaneError as error:
        print(f"triplane: {error}", file=sys.stderr)
        return 1
    return result


def parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """What understands ``words``; the options of the sandbox are only there if they are about it."""
    parser = argparse.ArgumentParser(prog="triplane", description="Deploy one platform to three clouds.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    validate = commands.add_parser("validate", help="check a platform.yaml and print every problem")
    validate.add_argument("file", type=Path, metavar="FILE", help="the spec")
    validate.set_defaults(run=_validate)

    schema = commands.add_parser("schema", help="print the JSON Schema of platform.yaml")
    schema.set_defaults(run=_schema)

    keys = commands.add_parser("keys", help="make new keys for the artifact store and for approvals")
    keys.set_defaults(run=_keys)

    remote.add_parsers(commands)
    ledger.add_parsers(commands)

    if words[:1] == ["sandbox"]:
        from triplane.sandbox.command import add_parser

        add_parser(commands)
    else:
        commands.add_parser("sandbox", help="three clouds on this machine: up, down, status", add_help=False)
    return parser


def _validate(arguments: argparse.Namespace) -> int:
    from triplane.spec.load import problems_of

    problems = problems_of(arguments.file)
    for problem in problems:
        print(problem)
    if problems:
        print(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}", file=sys.stderr)
    return 1 if problems else 0


def _schema(arguments: argparse.Namespace) -> int:
    from triplane.spec.reading import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _keys(arguments: argparse.Namespace) -> int:
    import secrets

    from cryptography.fernet import Fernet

    print(f"AIRFLOW__TRIPLANE__ARTIFACT_KEY={Fernet.generate_key().decode()}")
    print(f"AIRFLOW__TRIPLANE__SIGNING_KEY={secrets.token_hex(32)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
