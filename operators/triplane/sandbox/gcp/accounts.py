"""IAM: service accounts, and the policies of any resource."""

from __future__ import annotations

import re
import uuid

from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.state import PROJECT, Body, Call, Handler, State, etag, merge

PREFIX = "iam.projects.serviceAccounts"
ACCOUNT = re.compile(r"[a-z]([-a-z0-9]{4,28}[a-z0-9])")


class Accounts:
    def __init__(self, state: State) -> None:
        self._state = state

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{PREFIX}.create": self.create,
            f"{PREFIX}.get": lambda call: self._state.get(_name(call)),
            f"{PREFIX}.list": lambda call: {
                "accounts": self._state.below(f"{call.params['name']}/serviceAccounts")
            },
            f"{PREFIX}.patch": self.patch,
            f"{PREFIX}.update": self.update,
            f"{PREFIX}.delete": self.delete,
            f"{PREFIX}.enable": lambda call: self._set(call, disabled=False),
            f"{PREFIX}.disable": lambda call: self._set(call, disabled=True),
            "iamcredentials.projects.serviceAccounts.getAllowedLocations": lambda call: {
                "locations": [],
                "encodedLocations": "0x0",
            },
        }

    def create(self, call: Call) -> Body:
        identity = call.body.get("accountId", "")
        if not ACCOUNT.fullmatch(identity):
            raise invalid(
                "account_id", f"Invalid account_id '{identity}': 6-30 lower case letters and digits."
            )
        email = f"{identity}@{PROJECT}.iam.gserviceaccount.com"
        full = f"{call.params['name']}/serviceAccounts/{email}"
        if full in self._state.resources:
            raise ApiError(
                409, f"Service account {identity} already exists within project {call.params['name']}."
            )
        number = str(10**20 + uuid.uuid4().int % 10**20)
        body = {
            **call.body.get("serviceAccount", {}),
            "name": full,
            "projectId": PROJECT,
            "uniqueId": number,
            "oauth2ClientId": number,
            "email": email,
        }
        self._state.resources[full] = {**body, "etag": etag(body).strip('"')}
        return self._state.get(full)

    def patch(self, call: Call) -> Body:
        full = _name(call)
        merge(self._state.live(full), call.body.get("serviceAccount", {}), call.body.get("updateMask"))
        return self._touched(full)

    def update(self, call: Call) -> Body:
        full = _name(call)
        self._state.live(full).update(
            {key: value for key, value in call.body.items() if key in {"displayName", "description"}}
        )
        return self._touched(full)

    def delete(self, call: Call) -> Body:
        self._state.remove(_name(call))
        return {}

    def _set(self, call: Call, *, disabled: bool) -> Body:
        self._state.live(_name(call))["disabled"] = disabled
        return {}

    def _touched(self, full: str) -> Body:
        live = self._state.live(full)
        live["etag"] = etag(live).strip('"')
        return self._state.get(full)


class Policies:
    """``getIamPolicy``, ``setIamPolicy`` and ``testIamPermissions`` of every resource that exists."""

    def __init__(self, state: State) -> None:
        self._state = state

    def handle(self, verb: str, call: Call) -> Body:
        """Raises 404 for a resource that is not there, 409 when the policy was changed meanwhile."""
        resource = re.sub(r":\w+$", "", call.params.get("resource") or call.params["name"])
        self._state.live(resource)
        if verb == "testIamPermissions":
            return {"permissions": call.body.get("permissions", [])}
        current = self._state.policies.get(resource) or {"version": 1, "etag": "ACAB"}
        if verb == "getIamPolicy":
            return current
        policy = call.body.get("policy", {})
        if policy.get("etag", current["etag"]) != current["etag"]:
            raise ApiError(409, "There were concurrent policy changes. Please retry.", status="ABORTED")
        tag = etag(policy | {"n": len(current)}).strip('"')[:8]
        self._state.policies[resource] = {"version": 1, **policy, "etag": tag}
        return self._state.policies[resource]


def _name(call: Call) -> str:
    """The account's full name; clients may write ``projects/-``."""
    name: str = re.sub(r"^projects/-/", f"projects/{PROJECT}/", call.params["name"])
    return re.sub(r":\w+$", "", name)
