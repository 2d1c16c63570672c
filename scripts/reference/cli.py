"""The command ``triplane``, from its own parsers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from scripts.reference.markdown import attributes, page, table

from triplane.cli.exits import Exit
from triplane.cli.main import parser

INTRO = (
    "Every command of `triplane` and its options, as `--help` of each prints them. [CI](../guides/ci.md) tells how "
    "runs are asked for and followed, and which environment variables stand for options."
)
HOME = "/home/you"


def reference() -> str:
    """The page."""
    with _nobodys_environment():
        plain, sandbox = parser(["plan"]), parser(["sandbox"])
    sections = [*_sections(plain, without="sandbox"), *_sections(sandbox, only="sandbox")]
    return page("The command `triplane`", INTRO, [*sections, _exits()])


@contextmanager
def _nobodys_environment() -> Iterator[None]:
    """Defaults of options must not be those of whoever writes the page."""
    with patch.dict(os.environ, {"HOME": HOME}, clear=True):
        yield


def _sections(command: argparse.ArgumentParser, only: str = "", without: str = "") -> Iterator[str]:
    for action in command._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, inner in action.choices.items():
            if name == without or (only and name != only):
                continue
            nested = list(_sections(inner))
            yield (
                f"## {inner.prog}\n\n{_sentence(helps.get(name, ''))}"
                if nested
                else _command(inner, helps[name])
            )
            yield from nested


def _command(command: argparse.ArgumentParser, said: str) -> str:
    usage = " ".join(command.format_usage().removeprefix("usage: ").split())
    level = "##" if len(command.prog.split()) == 2 else "###"
    rows = (
        (_names(action), _meaning(action, command))
        for action in command._actions
        if not isinstance(action, argparse._HelpAction)
    )
    parts = (
        f"{level} {command.prog}",
        _sentence(said),
        f"```text\n{usage}\n```",
        table(("option", "meaning"), rows),
    )
    return "\n\n".join(part for part in parts if part)


def _names(action: argparse.Action) -> str:
    takes = action.metavar or ("|".join(action.choices) if action.choices else "")
    value = "" if action.nargs == 0 else f" {takes or action.dest.upper()}"
    return ", ".join(f"`{name}{value}`" for name in action.option_strings) or f"`{takes}`"


def _meaning(action: argparse.Action, command: argparse.ArgumentParser) -> str:
    said = (action.help or "") % {"default": str(action.default).replace(HOME, "~"), "prog": command.prog}
    return f"{said}; needed" if action.required and action.option_strings else said


def _sentence(said: str) -> str:
    return said[:1].upper() + said[1:] + ("" if said.endswith(("?", ".")) else ".")


def _exits() -> str:
    said = attributes(Exit)
    rows = ((str(int(code)), f"`{code.name.lower()}`", said.get(code.name, "")) for code in Exit)
    local = "`validate`, `schema`, `keys`, `ledger`, `evidence` and `sandbox` know 0, 1 and 2 alone."
    return f"## Exit codes\n\n{table(('code', '`outcome` of `--json`', 'meaning'), rows)}\n\n{local}"
