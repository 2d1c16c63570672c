"""Rego policies: rules of the user's own that see a plan before people do.

Every ``.rego`` file of a folder is read. The rules are those of package ``triplane``:

- ``deny`` (a set of texts): the plan cannot be approved, and the texts say why;
- ``risk`` (``"low"`` to ``"critical"``): raises the risk, never lowers it.

``input`` is the plan as ``terraform show -json`` prints it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triplane.core.change import Risk
from triplane.core.errors import InputError

_ERROR = re.compile(r"\(error \d+:(?P<file>[^|]+)\|(?P<at>\d+)\|\d+\s*\(errormsg \d+:(?P<said>[^)]*)\)")


@dataclass(frozen=True)
class Verdict:
    """``denied`` says why the plan cannot be approved, if it cannot; its risk is at least ``risk``."""

    denied: tuple[str, ...] = ()
    risk: Risk = Risk.NONE


def evaluate(document: Mapping[str, Any], folder: Path) -> Verdict:
    """What the policies in ``folder`` say of a plan.

    :raises InputError: a policy cannot be read or does not say what it must; names the file and line
    """
    files = {path.name: path.read_text() for path in sorted(folder.glob("*.rego"))}
    if not files:
        raise InputError(f"{folder.name} holds no .rego file; add one, or remove `policies` from the spec")
    found = _query(files, document)
    denied = found.get("deny", [])
    texts = denied if isinstance(denied, list) else list(denied)
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{folder.name}: deny must be a set of texts, it holds {texts}")
    return Verdict(tuple(sorted(texts)), _risk(found.get("risk", "none"), folder))


def _query(files: Mapping[str, str], document: Mapping[str, Any]) -> dict[str, Any]:
    try:
        from regopy import Interpreter, RegoError
    except ImportError:
        raise InputError(
            "policies need an interpreter of Rego: pip install 'airflow-provider-triplane[policy]'"
        ) from None
    except OSError as error:
        raise InputError(f"policies need a system library: {error}; of Debian it is libatomic1") from None
    interpreter = Interpreter()
    try:
        for name, text in files.items():
            interpreter.add_module(name, text)
        interpreter.set_input(document)
        said = str(interpreter.query("found := data.triplane"))
    except (RegoError, ValueError) as error:
        raise InputError(_explain(str(error), files)) from None
    if said == "<error>":
        raise InputError(f"{', '.join(files)}: a rule of package triplane has more than one value, or failed")
    # The library ends the whole process when a binding that is not there is asked for.
    found = None if said == "undefined" else json.loads(said)["bindings"].get("found")
    if not isinstance(found, dict):
        raise InputError(f"{', '.join(files)}: there are no rules in package triplane")
    return found


def _explain(error: str, files: Mapping[str, str]) -> str:
    match = _ERROR.search(error)
    if match is None or match["file"] not in files:
        return f"{', '.join(files)}: {' '.join(error.split())}"
    line = files[match["file"]].encode()[: int(match["at"])].count(b"\n") + 1
    return f"{match['file']}:{line}: {match['said']}"


def _risk(name: Any, folder: Path) -> Risk:
    try:
        return Risk.parse(str(name))
    except KeyError:
        names = ", ".join(str(risk) for risk in Risk)
        raise InputError(f"{folder.name}: risk must be one of {names}, it is {name!r}") from None
