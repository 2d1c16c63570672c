"""Cloud SQL: instances and their databases, as both versions of the API show them."""

from __future__ import annotations

import re

from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.operations import Finish, timestamp
from triplane.sandbox.gcp.state import PROJECT_NUMBER, Body, Call, Handler, State, etag

ROOT = "https://sqladmin.googleapis.com/sql/v1beta4"


class Sql:
    def __init__(self, state: State) -> None:
        self._state = state

    def handlers(self) -> dict[str, Handler]:
        return {
            "sql.instances.insert": self.insert,
            "sql.instances.get": lambda call: self._state.get(_name(call)),
            "sql.instances.list": lambda call: {
                "kind": "sql#instancesList", "items": self._state.below(_name(call))
            },
            "sql.instances.patch": self.patch,
            "sql.instances.update": self.patch,
            "sql.instances.delete": self.delete,
            "sql.databases.insert": self.insert_database,
            "sql.databases.get": lambda call: self._state.get(_name(call)),
            "sql.databases.list": lambda call: {
                "kind": "sql#databasesList", "items": self._state.below(_name(call))
            },
            "sql.databases.delete": self.delete,
            "sql.operations.get": lambda call: self._state.operations.get(_name(call)),
        }  # fmt: skip

    def insert(self, call: Call) -> Body:
        name = call.body.get("name", "")
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,96}[a-z0-9])?", name):
            raise invalid("name", f"Invalid request: instance name ({name}) is not valid.")
        if not call.body.get("settings", {}).get("tier"):
            raise invalid("settings.tier", "Invalid request: Missing parameter: settings.tier.")
        full = f"{_name(call)}/{name}"
        self._state.require_absent(full)
        self._state.resources[full] = _instance(full, call.body)

        def finish() -> Body:
            live = self._state.live(full)
            live["state"] = "RUNNABLE"
            return live

        return self._start("CREATE", full, finish, call)

    def patch(self, call: Call) -> Body:
        full = _name(call)
        current = self._state.live(full)
        settings = call.body.get("settings", {})
        version = current["settings"]["settingsVersion"]
        if settings.get("settingsVersion", version) != version:
            raise ApiError(412, "Condition does not match.")

        def finish() -> Body:
            live = self._state.live(full)
            merged = {**live["settings"], **settings, "settingsVersion": str(int(version) + 1)}
            live.update({**call.body, "settings": merged})
            live["etag"] = etag(live).strip('"')
            return live

        return self._start("UPDATE", full, finish, call)

    def delete(self, call: Call) -> Body:
        full = _name(call)
        if self._state.live(full).get("settings", {}).get("deletionProtectionEnabled"):
            raise ApiError(
                400, "The instance is protected. Please disable the deletion protection and try again."
            )

        def finish() -> Body:
            for inner in [name for name in self._state.resources if name.startswith(f"{full}/")]:
                self._state.remove(inner)
            return self._state.remove(full)

        return self._start("DELETE", full, finish, call)

    def insert_database(self, call: Call) -> Body:
        instance = _name(call).removesuffix("/databases")
        full = f"{_name(call)}/{call.body.get('name', '')}"
        self._state.live(instance)
        self._state.require_absent(full)

        def finish() -> Body:
            body = {
                "charset": "UTF8", "collation": "en_US.UTF8", **call.body, "kind": "sql#database",
                "instance": instance.rpartition("/")[2], "project": instance.split("/")[1],
                "selfLink": f"{ROOT}/{full}",
            }  # fmt: skip
            self._state.resources[full] = body
            return body

        return self._start("CREATE_DATABASE", full, finish, call)

    def _start(self, verb: str, full: str, finish: Finish, call: Call) -> Body:
        project = "/".join(full.split("/")[:2])
        return self._state.operations.start(project, "sql", verb, full, finish, user=call.caller)


def _name(call: Call) -> str:
    return re.sub(r"^/(sql/)?v1(beta4)?/", "", call.path).strip("/")


def _instance(full: str, wanted: Body) -> Body:
    _, project, _, name = full.split("/")
    region = wanted.get("region", "us-central1")
    settings = {
        "activationPolicy": "ALWAYS", "availabilityType": "ZONAL", "dataDiskSizeGb": "10",
        "dataDiskType": "PD_SSD", "pricingPlan": "PER_USE", "storageAutoResize": True, "edition": "ENTERPRISE",
        **wanted["settings"], "kind": "sql#settings", "settingsVersion": "1",
    }  # fmt: skip
    body = {
        "databaseVersion": "MYSQL_8_0", **wanted, "kind": "sql#instance", "state": "PENDING_CREATE",
        "backendType": "SECOND_GEN", "instanceType": "CLOUD_SQL_INSTANCE", "project": project, "region": region,
        "connectionName": f"{project}:{region}:{name}", "settings": settings, "createTime": timestamp(),
        "ipAddresses": [{"type": "PRIMARY", "ipAddress": "203.0.113.10"}], "gceZone": f"{region}-b",
        "serviceAccountEmailAddress": f"p{PROJECT_NUMBER}-sql@gcp-sa-cloud-sql.iam.gserviceaccount.com",
        "selfLink": f"{ROOT}/{full}",
    }  # fmt: skip
    body.pop("rootPassword", None)
    return {**body, "etag": etag(body).strip('"')}
