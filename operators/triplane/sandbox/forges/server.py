"""Serves GitHub, GitLab and Azure DevOps on one loopback port, told apart by the host that the client asked for.

Usage: ``python -m triplane.sandbox.forges.server SETTINGS_JSON`` with ``{"port": int, "github": token, "app": PEM, "gitlab":
token, "devops": token, "azure": url, "git": folder}``: ``app`` is the public key of a GitHub App, at ``azure`` Azure's
directory says what a token is for, and ``git`` holds the repositories, ``<host>/<owner>/<name>.git``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from aiohttp import web

from triplane.sandbox import faults
from triplane.sandbox.forges.asked import Answer, Asked, Fault
from triplane.sandbox.forges.devops import DevOps
from triplane.sandbox.forges.git import GitHost
from triplane.sandbox.forges.github import LOGS_HOST, REPOSITORY, GitHub
from triplane.sandbox.forges.gitlab import GitLab
from triplane.sandbox.forges.reviews import GitHubReviews, GitLabReviews
from triplane.sandbox.forges.runs import REFS
from triplane.sandbox.forges.tokens import APP, Tokens


class Server:
    """All hosts."""

    def __init__(self, settings: dict[str, Any]) -> None:
        tokens = Tokens(REPOSITORY, settings["github"], APP, settings["app"])
        github = GitHub(tokens, GitHubReviews("https://api.github.com", commits=REFS.values(), pulls=(7,)))
        gitlab = GitLab(
            settings["gitlab"], GitLabReviews("https://gitlab.com", commits=REFS.values(), pulls=(7,))
        )
        root = Path(settings["git"])
        at_gitlab = GitHost(root / "gitlab.com", "GitLab", lambda token: token == settings["gitlab"])
        self._hosts = {
            "api.github.com": github.answer,
            "github.com": GitHost(root / "github.com", "GitHub", tokens.good).answer,
            LOGS_HOST: github.logs,
            "gitlab.com": lambda asked: (at_gitlab if at_gitlab.serves(asked) else gitlab).answer(asked),
            "dev.azure.com": DevOps(
                settings["devops"], lambda token: _audience(settings["azure"], token)
            ).answer,
        }
        self._faults = faults.Faults[Fault]()
        self._asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        host = request.host.partition(":")[0].lower()
        if host in ("127.0.0.1", "localhost"):
            return await self._sandbox(request)
        path = request.raw_path.partition("?")[0]
        asked = Asked(request.method, path, request.query, request.headers, await request.read())
        self._asked.append(f"{request.method} {host}{path}")
        fault = self._faults.take(lambda each: each.concerns(request.method, host + path))
        if fault and not fault.done:
            return _response(fault.answer())
        try:
            answer = await asyncio.to_thread(self._hosts[host], asked)
        except (ValueError, KeyError) as error:
            answer = Answer(400, {"message": f"Problems parsing JSON: {error}"})
        return _response(fault.answer() if fault else answer)

    async def _sandbox(self, request: web.Request) -> web.Response:
        """For tests, on the loopback address only."""
        if request.path == "/_sandbox/ready":
            return web.Response(text="ready")
        if request.path == "/_sandbox/asked":
            asked, self._asked = self._asked, []
            return web.json_response(asked)
        if request.path == faults.PATH:
            return await faults.order(request, self._faults, Fault)
        return web.Response(status=404)


def _response(answer: Answer) -> web.Response:
    if isinstance(answer.body, bytes):
        return web.Response(body=answer.body, status=answer.status, headers=answer.headers)
    if isinstance(answer.body, str):
        return web.Response(text=answer.body, status=answer.status, headers=answer.headers)
    if answer.body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    return web.json_response(answer.body, status=answer.status, headers=answer.headers)


def _audience(azure: str, token: str) -> str:
    """For whom Azure's directory has given ``token`` out, empty if it has not, or it has ended."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    query = urllib.parse.urlencode({"access_token": token})
    try:
        with opener.open(f"{azure}/_sandbox/tokeninfo?{query}", timeout=5) as answer:
            return str(json.loads(answer.read()).get("aud", ""))
    except (OSError, urllib.error.URLError):
        return ""


def main(argv: list[str]) -> None:
    settings = json.loads(Path(argv[0]).read_text())
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", Server(settings).handle)
    web.run_app(app, host="127.0.0.1", port=settings["port"], print=None, access_log=None)


if __name__ == "__main__":
    main(sys.argv[1:])
