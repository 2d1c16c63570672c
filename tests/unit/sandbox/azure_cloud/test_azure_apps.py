"""Function packages: what is unpacked, what is refused, which function a path reaches."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path

import pytest

from triplane.sandbox.azure.apps import FAILED, SUCCESS, App, Apps, PackageError, route, unpack

CODE = """
import os
import azure.functions as func

app = func.FunctionApp()

@app.route(route="items/{name}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def items(req):
    print("goes to the log")
    return func.HttpResponse(os.environ["GREETING"] + " " + req.route_params["name"])
"""
FUNCTION_JSON = '{"bindings": [{"type": "httpTrigger", "name": "req", "authLevel": "anonymous"}]}'
OLD_CODE = "import azure.functions as func\ndef main(req): return func.HttpResponse('old')"


def package(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no archive", "not a zip archive"),
        (package(**{"function_app.py": CODE}), "host.json is missing"),
        (package(**{"host.json": "{", "function_app.py": CODE}), "host.json is not JSON"),
        (package(**{"host.json": "{}", "app.py": ""}), "no function"),
    ],
)
def test_packages_that_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "p.zip").write_bytes(data)
    with pytest.raises(PackageError, match=message):
        unpack(tmp_path / "p.zip", tmp_path / "root")


def test_a_deployed_function_runs_with_the_settings_of_its_app(tmp_path: Path) -> None:
    async def scenario() -> None:
        apps = Apps(tmp_path)
        app = apps.get("one")
        data = package(**{"host.json": "{}", "function_app.py": CODE})
        deployment = await apps.deploy(app, data, {}, "message", "test")
        assert (deployment.status, app.active) == (SUCCESS, deployment)
        assert route(app, "GET", "/api/items/x") == ("items", {"name": "x"})
        assert route(app, "POST", "/api/items/x") is None
        message = {"method": "GET", "url": "https://one/api/items/x", "headers": {}, "params": {}, "body": ""}
        answer = await apps.call(
            app, "items", {"GREETING": "hello"}, {**message, "route_params": {"name": "x"}}
        )
        assert (answer["status"], answer["body"]) == (200, "aGVsbG8geA==")

    asyncio.run(scenario())


def test_a_failed_deployment_leaves_what_served(tmp_path: Path) -> None:
    async def scenario() -> None:
        apps = Apps(tmp_path)
        app = apps.get("one")
        good = package(**{"host.json": "{}", "old/function.json": FUNCTION_JSON, "old/__init__.py": OLD_CODE})
        first = await apps.deploy(app, good, {}, "", "test")
        second = await apps.deploy(app, b"broken", {}, "", "test")
        assert (second.status, app.active) == (FAILED, first)
        assert list(app.functions) == ["old"]
        assert Apps(tmp_path).get("one").active == first

    asyncio.run(scenario())


def test_code_that_cannot_be_imported_serves_no_function(tmp_path: Path) -> None:
    async def scenario() -> App:
        apps = Apps(tmp_path)
        app = apps.get("one")
        data = package(**{"host.json": "{}", "function_app.py": "import nothing_of_that_name"})
        await apps.deploy(app, data, {}, "", "test")
        return app

    app = asyncio.run(scenario())
    assert app.functions == {}
    assert app.active is not None
    assert "nothing_of_that_name" in app.active.log[-1]
