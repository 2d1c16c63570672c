"""The subcommands of ``triplane sandbox``: install, up, down, status, env."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from triplane.core.errors import TriplaneError
from triplane.sandbox.runtime import Sandbox, default_cache, default_home


def add_parser(subparsers: Any) -> None:
    """Add ``sandbox`` to the subparsers of the ``triplane`` command; ``args.run(args)`` is the exit code."""
    _add_commands(subparsers.add_parser("sandbox", help="three clouds on this machine"))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="triplane sandbox", description="Three clouds on this machine.")
    _add_commands(parser)
    args = parser.parse_args(argv)
    try:
        return int(args.run(args))
    except TriplaneError as error:
        print(f"triplane: {error}", file=sys.stderr)
        return 1


def _add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="sandbox_command", required=True)
    for name, run, help_text in (
        ("install", _install, "install emulators and tools into the cache"),
        ("up", _up, "start everything and wait until it is ready"),
        ("down", _down, "stop everything and remove its state"),
        ("status", _status, "list the services; exit 1 unless all run"),
        ("env", _env, "print the environment that leads into the sandbox, for `eval`"),
    ):
        command = commands.add_parser(name, help=help_text)
        command.set_defaults(run=run)
        command.add_argument(
            "--cache", type=Path, default=default_cache(), help="tools (default: %(default)s)"
        )
        if name == "install":
            command.add_argument("--tests", action="store_true", help="also what only Triplane's tests need")
        else:
            command.add_argument(
                "--home", type=Path, default=default_home(), help="state (default: %(default)s)"
            )
        if name == "up":
            command.add_argument("--part", action="append", help="start only this part (repeatable)")


def _install(args: argparse.Namespace) -> int:
    from triplane.sandbox.install import install

    install(args.cache, on_progress=print, tests=args.tests)
    return 0


def _up(args: argparse.Namespace) -> int:
    sandbox = Sandbox.up(args.home, args.part, on_progress=print, cache=args.cache)
    print(f"the sandbox is up in {sandbox.home}")
    return 0


def _down(args: argparse.Namespace) -> int:
    Sandbox(args.home, args.cache).down()
    print(f"the sandbox in {args.home} is down")
    return 0


def _status(args: argparse.Namespace) -> int:
    sandbox = Sandbox(args.home, args.cache)
    services = sandbox.status()
    for each in services:
        print(f"{each.name:28} {each.pid:8} {'runs' if each.alive else 'ended':6} {each.log}")
    print(f"the sandbox in {sandbox.home} is {'up' if sandbox.running else 'not up'}")
    return 0 if sandbox.running else 1


def _env(args: argparse.Namespace) -> int:
    for name, value in Sandbox.load(args.home, args.cache).environ().items():
        print(f"export {name}={shlex.quote(value)}")
    return 0
