"""One request, from whichever protocol: who asks, is it in the contract, what happens."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping

from triplane.sandbox.gcp.accounts import Accounts, Policies
from triplane.sandbox.gcp.artifacts import Artifacts
from triplane.sandbox.gcp.clouddeploy import CloudDeploy
from triplane.sandbox.gcp.compute import Compute
from triplane.sandbox.gcp.container import Container
from triplane.sandbox.gcp.contract import Contract, api_of
from triplane.sandbox.gcp.core_request import Request
from triplane.sandbox.gcp.errors import ApiError
from triplane.sandbox.gcp.faults import Faults
from triplane.sandbox.gcp.functions import Functions
from triplane.sandbox.gcp.images import finder
from triplane.sandbox.gcp.logs import Logs
from triplane.sandbox.gcp.monitoring import Monitoring
from triplane.sandbox.gcp.oauth import Tokens
from triplane.sandbox.gcp.outgoing import Outgoing
from triplane.sandbox.gcp.pubsub import PubSub
from triplane.sandbox.gcp.revisions import Revisions
from triplane.sandbox.gcp.run import Run
from triplane.sandbox.gcp.scheduler import Scheduler
from triplane.sandbox.gcp.secret_manager import SecretManager
from triplane.sandbox.gcp.serving import Answered, Serving
from triplane.sandbox.gcp.sql import Sql
from triplane.sandbox.gcp.state import PROJECT, Body, Call, Handler, State

__all__ = ["Core", "Request"]
POLICY_VERBS = {"getIamPolicy", "setIamPolicy", "testIamPermissions"}


class Core:
    """All APIs of the sandbox's Google Cloud over one state; safe to call from several threads."""

    def __init__(self, state: State, tokens: Tokens, contract: Contract, registry: str) -> None:
        self.state = state
        self.tokens = tokens
        self.contract = contract
        self._lock = threading.RLock()
        self.faults = Faults()
        find = finder(registry, state.resources)
        revisions = Revisions(
            state, lambda image: self.functions.digest(image) or find(image), self._container_failure
        )
        run, logs = Run(state, revisions), Logs()
        self.functions = Functions(state, run, logs)
        self.serving = Serving(state, tokens, self.functions, logs)
        self._policies = Policies(state)
        self._handlers: dict[str, Handler] = {}
        outgoing = Outgoing(tokens, self.answer)
        callers = (Scheduler(state, outgoing, self._lock), PubSub(state, outgoing, self._lock))
        parts = (run, self.functions, logs, Compute(state), Container(state))
        self.monitoring = Monitoring(state)
        own = (Accounts(state), Sql(state), Artifacts(state), SecretManager(state), CloudDeploy(state, logs))
        for part in (*parts, *own, self.monitoring, *callers):
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
            return self._faulty(call, request)

    def answer(self, request: Request, payload: bytes, headers: Mapping[str, str]) -> Answered:
        """What a service or function answers at its own URL."""
        with self._lock:
            self.state.operations.settle()
            ready = self.serving.find(request, headers)
        return ready if isinstance(ready, Answered) else self.serving.call(ready, request, payload, headers)

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

    def _container_failure(self, body: Body) -> str | None:
        return self.functions.start_failure(body)

    def _faulty(self, call: Call, request: Request) -> Body:
        """Do what was asked, or fail as a test has ordered."""
        place = request.host + request.path
        if error := self.faults.request(request.verb, place, done=False):
            raise error
        self.state.operations.failure = self.faults.operation(request.verb, place)
        try:
            answer = self._dispatch(call)
        finally:
            self.state.operations.failure = None
        if error := self.faults.request(request.verb, place, done=True):
            raise error
        return answer

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
