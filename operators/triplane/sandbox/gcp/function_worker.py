"""Runs one Python function: ``python function_worker.py ENTRY_POINT``, one request as JSON on standard input.

The working directory is the unpacked package. Neither Flask nor the Functions Framework has to be installed:
the request is a small likeness of Flask's. A package that imports what is not installed here answers by contract.
"""

from __future__ import annotations

import base64
import importlib
import importlib.util
import json
import os
import sys
import traceback
import types
import urllib.parse
from pathlib import Path
from typing import Any


class Request:
    """What functions use of ``flask.Request``."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.method = message["method"]
        self.path = message["path"]
        self.headers = message["headers"]
        self.args = dict(urllib.parse.parse_qsl(message["query"]))
        self.data = base64.b64decode(message["body"])

    def get_data(self, as_text: bool = False) -> Any:
        return self.data.decode() if as_text else self.data

    def get_json(self, force: bool = False, silent: bool = False) -> Any:
        try:
            return json.loads(self.data)
        except ValueError:
            if silent:
                return None
            raise

    @property
    def json(self) -> Any:
        return self.get_json()


def framework() -> None:
    """Stand in for the Functions Framework's decorators where it is not installed."""
    if importlib.util.find_spec("functions_framework") is None:
        module = types.ModuleType("functions_framework")
        module.http = module.cloud_event = lambda function: function  # type: ignore[attr-defined]
        sys.modules["functions_framework"] = module


def listed(root: Path, module: str) -> bool:
    """Whether requirements.txt asks for packages, so that a missing module may be one of them."""
    file = root / "requirements.txt"
    return file.is_file() and bool(file.read_text().strip()) and not (root / f"{module}.py").exists()


def load(root: Path, entry_point: str) -> tuple[Any, str]:
    """The function, or None; and why there is none ("" if only a package is not installed here)."""
    try:
        module = importlib.import_module("main")
    except ModuleNotFoundError as error:
        traceback.print_exc()
        known = listed(root, (error.name or "").partition(".")[0])
        return None, "" if known else f"{type(error).__name__}: {error}"
    except Exception as error:  # whatever the user's module raises
        traceback.print_exc()
        return None, f"{type(error).__name__}: {error}"
    function = getattr(module, entry_point, None)
    if function is None:
        return None, f"File main.py is expected to contain a function named '{entry_point}'"
    return function, ""


def answer(result: Any) -> dict[str, Any]:
    """What Flask makes of a view's return value."""
    status, headers = 200, {}
    if isinstance(result, tuple):
        status = next((int(part) for part in result[1:] if isinstance(part, int)), 200)
        headers = next((dict(part) for part in result[1:] if isinstance(part, dict)), {})
        result = result[0]
    if isinstance(result, (dict, list)):
        headers = {"Content-Type": "application/json", **headers}
        result = json.dumps(result)
    data = result if isinstance(result, bytes) else str(result).encode()
    return {
        "status": status,
        "headers": {"Content-Type": "text/html; charset=utf-8", **headers},
        "body": base64.b64encode(data).decode(),
    }


def main() -> None:
    # What the function prints belongs to its log, not to the answer.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    root = Path.cwd()
    sys.path[:1] = [str(root)]
    framework()
    message = json.load(sys.stdin)
    function, failure = load(root, sys.argv[1])
    if message.get("check"):
        result: dict[str, Any] = {"failure": failure}
    elif function is None:
        text = failure or "this package needs what is not installed in the sandbox; it is not run"
        result = answer((text, 500 if failure else 200))
    else:
        try:
            result = answer(function(Request(message)))
        except Exception:  # as the framework does
            traceback.print_exc()
            result = answer(("Internal Server Error", 500))
    json.dump(result, out)
    out.close()


if __name__ == "__main__":
    main()
