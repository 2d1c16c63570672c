"""Artifact Registry: repositories. Their images live in the sandbox's OCI registry."""

from __future__ import annotations

import re

from triplane.sandbox.gcp.errors import invalid
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.state import Body, Call, Handler, State, merge

PREFIX = "artifactregistry.projects.locations"
TYPE = "type.googleapis.com/google.devtools.artifactregistry.v1.Repository"


class Artifacts:
    def __init__(self, state: State) -> None:
        self._state = state

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{PREFIX}.repositories.create": self.create,
            f"{PREFIX}.repositories.get": lambda call: self._state.get(call.params["name"]),
            f"{PREFIX}.repositories.list": lambda call: {
                "repositories": self._state.below(f"{call.params['parent']}/repositories")
            },
            f"{PREFIX}.repositories.patch": self.patch,
            f"{PREFIX}.repositories.delete": self.delete,
            f"{PREFIX}.operations.get": lambda call: self._state.operations.get(call.params["name"]),
        }

    def create(self, call: Call) -> Body:
        name = call.params.get("repositoryId", "")
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name):
            raise invalid("repository_id", f'invalid repository ID "{name}"')
        if call.body.get("format", "FORMAT_UNSPECIFIED") == "FORMAT_UNSPECIFIED":
            raise invalid("repository.format", "repository format must be specified")
        parent = call.params["parent"]
        full = f"{parent}/repositories/{name}"
        self._state.require_absent(full)

        def finish() -> Body:
            self._state.require_absent(full)
            _, project, _, location = parent.split("/")
            stamp = timestamp()
            self._state.resources[full] = {
                "mode": "STANDARD_REPOSITORY",
                **call.body,
                "name": full,
                "createTime": stamp,
                "updateTime": stamp,
                "registryUri": f"{location}-docker.pkg.dev/{project}/{name}",
            }
            return self._state.get(full)

        return self._state.operations.start(parent, "longrunning", "create", full, finish, type=TYPE)

    def patch(self, call: Call) -> Body:
        live = self._state.live(call.params["name"])
        merge(live, call.body, call.params.get("updateMask"))
        live |= {"name": call.params["name"], "updateTime": timestamp()}
        return self._state.get(call.params["name"])

    def delete(self, call: Call) -> Body:
        full = call.params["name"]
        self._state.live(full)
        parent = full.rpartition("/repositories/")[0]
        empty = "type.googleapis.com/google.protobuf.Empty"

        def finish() -> Body:
            self._state.remove(full)
            return {}

        return self._state.operations.start(parent, "longrunning", "delete", full, finish, type=empty)
