"""Version constraints as Terraform writes them: ``~> 1.9, != 1.10.1``."""

from __future__ import annotations

import re

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from triplane.core.errors import InputError

_OPERATORS = {"~>": "~=", "=": "==", "": "=="}
_PART = re.compile(r"^\s*(~>|>=|<=|!=|=|>|<|)\s*v?(\d[^\s]*)\s*$")


def accepts(constraints: str, version: str) -> bool:
    """Whether ``version`` satisfies ``constraints``.

    ``~>`` lets only the last number grow. A prerelease is accepted only where it is named.

    :raises InputError: ``constraints`` cannot be read
    """
    wanted = parse(constraints)
    named = any(Version(one.version).is_prerelease for one in wanted)
    found = Version(version)
    return (named or not found.is_prerelease) and wanted.contains(found, prereleases=True)


def parse(constraints: str) -> SpecifierSet:
    """The same as Python's packages write it. :raises InputError: it cannot be read"""
    return SpecifierSet(",".join(_specifier(part) for part in constraints.split(",")))


def _specifier(part: str) -> str:
    match = _PART.match(part)
    if match is None:
        raise InputError(f"{part.strip()!r} is not a version constraint, such as '>= 1.9' or '~> 1.11'")
    operator, number = match.groups()
    if operator == "~>" and "." not in number:
        operator = ">="
    try:
        return str(SpecifierSet(_OPERATORS.get(operator, operator) + number))
    except InvalidSpecifier:
        raise InputError(
            f"{part.strip()!r} is not a version constraint, such as '>= 1.9' or '~> 1.11'"
        ) from None
