"""Small pieces of Markdown, and what docstrings say in it."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence

FIELD = re.compile(r"^:(?=param |raises |return)", re.M)
GENERATED = "<!-- Written by `make docs` from the code. Do not edit. -->"


def page(title: str, intro: str, parts: Iterable[str]) -> str:
    """A whole page that says that it is generated."""
    return "\n\n".join([f"# {title}", GENERATED, intro, *parts]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; empty where there are no rows."""
    cells = [[re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines]) if cells else ""


def text(docstring: str | None) -> str:
    """A docstring in one line of Markdown, without its ``:param`` fields."""
    said = FIELD.split(inspect.cleandoc(docstring or ""))[0]
    said = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", said)
    return " ".join(said.replace("``", "`").split())


def first_sentence(docstring: str | None) -> str:
    """What a docstring says first."""
    return re.split(r"(?<=[.?!]) (?=[A-Z`])", text(docstring), maxsplit=1)[0]


def parameters(docstring: str | None) -> dict[str, str]:
    """The ``:param name:`` fields of a docstring, by name."""
    fields = FIELD.split(inspect.cleandoc(docstring or ""))[1:]
    found = (re.match(r"param (\w+): (.*)", field, re.S) for field in fields)
    return {match[1]: text(match[2]) for match in found if match}


@functools.cache
def attributes(kind: type) -> dict[str, str]:
    """What is said of a class's own attributes, by the strings that follow them."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    said = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign):
            target: ast.expr = statement.target
        elif isinstance(statement, ast.Assign):
            target = statement.targets[0]
        else:
            continue
        if isinstance(target, ast.Name) and isinstance(after, ast.Expr):
            said[target.id] = text(ast.literal_eval(after.value))
    return said
