"""One request, from whichever protocol: who asks, is it in the contract, what happens."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from triplane.sandbox.gcp.accounts import Accounts, Policies
from triplane.sandbox.gcp.artifacts import Artifacts
from triplane.sandbox.gcp.compute import Compute
from triplane.sandbox.gcp.container import Container
from triplane.sandbox.gcp.contract import Contract, api_of
from triplane.sandbox.gcp.errors import ApiError
from triplane.sandbox.gcp.images import finder
from triplane.sandbox.gcp.oauth import Tokens
from triplane.sandbox.gcp.revisions import Revisions
from triplane.sandbox.gcp.run import Run
from triplane.sandbox.gcp.sql import Sql
from triplane.sandbox.gcp.state import PROJECT, Body, Call, Handler, State

POLICY_VERBS = {"getIamPolicy", "setIamPolicy", "testIamPermissions"}


@dataclass(frozen=True)
class Request:
    """``host`` tells the API; ``query`` keeps repeated names; ``body`` is parsed JSON or None."""

    host: str
    verb: str
    path: str
    query: list[tuple[str, str]]
    body: Any
    authorization: str | None


class Core:
    """All APIs of the sandbox's Google Cloud over one state; safe to call from several threads."""

    def __init__(self, state: State, tokens: Tokens, contract: Contract, registry: str) -> None:
        self.state = state
        self.tokens = tokens
        self.contract = contract
        self._lock = threading.RLock()
        revisions = Revisions(state, finder(registry, state.resources))
        self._policies = Policies(state)
        self._handlers: dict[str, Handler] = {}
        parts = (Run(state, revisions), Compute(state), Container(state))
        for part in (*parts, Accounts(state), Sql(state), Artifacts(state)):
            self._handlers |= part.handlers()

    def add(self, handlers: Mapping[str, Handler]) -> None:
        """Serve more methods."""
        self._handlers |= handlers

    def handle(self, request: Request) -> Body:
        """The JSON answer. Raises ApiError."""
        caller = self.tokens.check(request.authorization)
        api = api_of(request.host)
        document, method, params = self.contract.find(api, request.verb, request.path)
        params = {**document.check_query(method, request.query), **params}
        body = document.check_body(method, request.body)
        _check_project(request.path)
        call = Call(method.id, params, body, caller, request.path)
        with self._lock:
            self.state.operations.settle()
            return self._dispatch(call)

    def check_body(self, request: Request) -> None:
        """Refuse what the contract does not allow in a request that another server answers."""
        self.tokens.check(request.authorization)
        document, method, _ = self.contract.find(api_of(request.host), request.verb, request.path)
        document.check_query(method, request.query)
        document.check_body(method, request.body)

    def operation(self, name: str) -> Body:
        """A long-running operation by its full name, whichever API it belongs to."""
        with self._lock:
            self.state.operations.settle()
            return self.state.operations.get(name)

    def _dispatch(self, call: Call) -> Body:
        verb = call.id.rpartition(".")[2]
        if verb in POLICY_VERBS:
            return self._policies.handle(verb, call)
        handler = self._handlers.get(call.id)
        if handler is None:
            raise ApiError(501, f"{call.id} is a method of the real API that the sandbox does not have")
        return handler(call)


def _check_project(path: str) -> None:
    project = re.search(r"/projects/([^/:]+)", path)
    if project and project[1] not in {PROJECT, "-"}:
        text = f"Permission denied on resource project {project[1]}."
        raise ApiError(403, text)
