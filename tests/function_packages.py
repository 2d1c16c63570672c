"""Packages of function apps for the tests, which really run in the sandbox."""

from __future__ import annotations

import io
import zipfile

CODE = """
import os
import azure.functions as func

app = func.FunctionApp()

@app.route(route="hook", methods=["GET"], auth_level=func.AuthLevel.{level})
def hook(req):
    return func.HttpResponse("{text} " + os.environ.get("GREETING", "none"), status_code={status})
"""


def package(text: str, *, level: str = "ANONYMOUS", status: int = 200) -> bytes:
    """Answers ``/api/hook`` with ``<text> <GREETING>``."""
    return archive(
        **{"host.json": "{}", "function_app.py": CODE.format(text=text, level=level, status=status)}
    )


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as found:
        for name, text in files.items():
            found.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


UNIMPORTABLE = archive(**{"host.json": "{}", "function_app.py": "import nothing_of_that_name"})
NO_ARCHIVE = b"no archive"
