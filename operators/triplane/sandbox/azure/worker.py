"""Runs the Python code of one function app, in a process of its own.

``python worker.py index`` writes what the app declares, ``python worker.py call`` answers one request that
comes as JSON on standard input. The working directory is the unpacked package; both programming models are
known: ``function_app.py`` with decorators, and a ``function.json`` in a directory a function.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import importlib.util
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

import azure.functions as func


def index(root: Path) -> dict[str, dict[str, Any]]:
    """Function name -> ``{"run", "route", "methods", "auth"}``; ``route`` is None without an HTTP trigger."""
    found: dict[str, dict[str, Any]] = {}
    if (root / "function_app.py").is_file():
        found |= _decorated(importlib.import_module("function_app"))
    for file in sorted(root.glob("*/function.json")):
        found[file.parent.name] = _described(file)
    return found


def _decorated(module: Any) -> dict[str, dict[str, Any]]:
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionApp)]
    found = {}
    for function in (function for app in apps for function in app.get_functions()):
        name = function.get_function_name()
        bindings = json.loads(str(function))["bindings"]
        found[name] = {"run": function.get_user_function(), **_http(bindings, name)}
    return found


def _described(file: Path) -> dict[str, Any]:
    document = json.loads(file.read_text())
    script = file.parent / document.get("scriptFile", "__init__.py")
    spec = importlib.util.spec_from_file_location(file.parent.name, script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run = getattr(module, document.get("entryPoint", "main"))
    return {"run": run, **_http(document["bindings"], file.parent.name)}


def _http(bindings: list[dict[str, Any]], name: str) -> dict[str, Any]:
    trigger = next((item for item in bindings if str(item["type"]).lower() == "httptrigger"), None)
    if trigger is None:
        return {"route": None, "methods": [], "auth": "", "bindings": bindings}
    methods = [str(method).upper() for method in trigger.get("methods") or ["GET", "POST"]]
    auth = str(trigger.get("authLevel", "function")).lower()
    return {
        "route": trigger.get("route") or name,
        "methods": methods,
        "auth": auth,
        "parameter": trigger["name"],
        "bindings": bindings,
    }


def call(root: Path, message: dict[str, Any]) -> dict[str, Any]:
    """Runs one HTTP function; the answer's body is Base64."""
    function = index(root)[message["function"]]
    request = func.HttpRequest(
        message["method"],
        message["url"],
        headers=message["headers"],
        params=message["params"],
        route_params=message["route_params"],
        body=base64.b64decode(message["body"]),
    )
    result = function["run"](**{function["parameter"]: request})
    if inspect.isawaitable(result):
        result = asyncio.run(_wait(result))
    if isinstance(result, str):
        result = func.HttpResponse(result)
    headers = {"Content-Type": result.mimetype or "text/plain", **dict(result.headers)}
    body = base64.b64encode(result.get_body()).decode()
    return {"status": result.status_code, "headers": headers, "body": body}


async def _wait(result: Any) -> Any:
    return await result


def main() -> None:
    # What the app prints belongs to its log, not to the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    root = Path.cwd()
    sys.path[:1] = [str(root), str(root / ".python_packages" / "lib" / "site-packages")]
    if sys.argv[1] == "index":
        result: Any = {
            name: {key: value for key, value in item.items() if key != "run"}
            for name, item in index(root).items()
        }
    else:
        result = call(root, json.load(sys.stdin))
    json.dump(result, answer)
    answer.close()


if __name__ == "__main__":
    main()
