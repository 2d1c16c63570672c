"""Compute Engine: networks, subnetworks and their operations."""

from __future__ import annotations

import base64
import ipaddress
import re
import uuid
from typing import Any

from triplane.sandbox.gcp.errors import ApiError, invalid
from triplane.sandbox.gcp.operations import timestamp
from triplane.sandbox.gcp.state import Body, Call, Handler, State, etag

ROOT = "https://www.googleapis.com/compute/v1"
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


class Compute:
    def __init__(self, state: State) -> None:
        self._state = state

    def handlers(self) -> dict[str, Handler]:
        found: dict[str, Handler] = {}
        for kind in ("networks", "subnetworks"):
            found |= {
                f"compute.{kind}.insert": self.insert,
                f"compute.{kind}.get": self.get,
                f"compute.{kind}.list": self.list,
                f"compute.{kind}.patch": self.patch,
                f"compute.{kind}.delete": self.delete,
            }
        for verb in ("setPrivateIpGoogleAccess", "expandIpCidrRange"):
            found[f"compute.subnetworks.{verb}"] = self.change_subnetwork
        for kind in ("globalOperations", "regionOperations"):
            found |= {f"compute.{kind}.get": self.operation, f"compute.{kind}.wait": self.wait}
        return found

    def insert(self, call: Call) -> Body:
        name = call.body.get("name", "")
        if not NAME.fullmatch(name):
            raise invalid("resource.name", f"Invalid value for field 'resource.name': '{name}'.")
        full = f"{_collection(call)}/{name}"
        self._state.require_absent(full)
        make = self._network if "/networks/" in full else self._subnetwork
        body = make(full, call)

        def finish() -> Body:
            self._state.require_absent(full)
            self._state.resources[full] = body
            return body

        return self._start("insert", full, finish, call)

    def get(self, call: Call) -> Body:
        body = self._state.get(_name(call))
        if body["kind"] == "compute#network":
            own = [each for name, each in self._state.resources.items() if "/subnetworks/" in name]
            links = [each["selfLink"] for each in own if each["network"] == body["selfLink"]]
            body |= {"subnetworks": links} if links else {}
        return body

    def list(self, call: Call) -> Body:
        collection = _collection(call)
        kind = "compute#networkList" if collection.endswith("networks") else "compute#subnetworkList"
        items = self._state.below(collection)
        return {"kind": kind, "id": collection, "items": items, "selfLink": f"{ROOT}/{collection}"}

    def patch(self, call: Call) -> Body:
        full = _name(call)
        found = self._state.get(full)
        if "fingerprint" in call.body and call.body["fingerprint"] != found.get("fingerprint"):
            raise ApiError(412, "Supplied fingerprint does not match current metadata fingerprint.")

        def finish() -> Body:
            live = self._state.live(full)
            live.update({key: value for key, value in call.body.items() if key != "name"})
            if "fingerprint" in live:
                live["fingerprint"] = _fingerprint(live)
            return live

        return self._start("patch", full, finish, call)

    def change_subnetwork(self, call: Call) -> Body:
        """A verb on a subnetwork whose body holds the fields to set."""
        full, _, verb = _name(call).rpartition("/")
        self._state.live(full)

        def finish() -> Body:
            live = self._state.live(full)
            live.update(call.body)
            live["fingerprint"] = _fingerprint(live)
            return live

        return self._start(verb, full, finish, call)

    def delete(self, call: Call) -> Body:
        full = _name(call)
        link = self._state.get(full)["selfLink"]
        for body in self._state.resources.values():
            if body.get("network") == link and body.get("kind") == "compute#subnetwork":
                user = body["selfLink"].removeprefix(f"{ROOT}/")
                text = f"The network resource '{full}' is already being used by '{user}'"
                raise ApiError(400, text, status="RESOURCE_IN_USE_BY_ANOTHER_RESOURCE")
        return self._start("delete", full, lambda: self._state.remove(full), call)

    def operation(self, call: Call) -> Body:
        return self._state.operations.get(_name(call))

    def wait(self, call: Call) -> Body:
        return self._state.operations.wait(_name(call).removesuffix("/wait"))

    def _network(self, full: str, call: Call) -> Body:
        return {
            "autoCreateSubnetworks": False,
            "routingConfig": {"routingMode": "REGIONAL"},
            "mtu": 1460,
            "networkFirewallPolicyEnforcementOrder": "AFTER_CLASSIC_FIREWALL",
            **call.body,
            **_identity("compute#network", full),
        }

    def _subnetwork(self, full: str, call: Call) -> Body:
        network = _relative(call.body.get("network", ""), call.params["project"])
        link = self._state.get(network)["selfLink"]
        cidr = self._free_range(call.body.get("ipCidrRange", ""), link)
        body = {
            "purpose": "PRIVATE",
            "stackType": "IPV4_ONLY",
            "privateIpGoogleAccess": False,
            "enableFlowLogs": False,
            **call.body,
            **_identity("compute#subnetwork", full),
            "network": link,
            "gatewayAddress": str(cidr[1]),
            "region": f"{ROOT}/{full.rpartition('/subnetworks/')[0]}",
        }
        return {**body, "fingerprint": _fingerprint(body)}

    def _free_range(self, text: str, network: str) -> ipaddress.IPv4Network:
        try:
            wanted = ipaddress.IPv4Network(text)
        except ValueError as error:
            text = f"Invalid value for field 'resource.ipCidrRange': '{text}'. {error}"
            raise invalid("resource.ipCidrRange", text) from error
        for body in self._state.resources.values():
            taken = body.get("ipCidrRange") if body.get("network") == network else None
            if taken and wanted.overlaps(ipaddress.IPv4Network(taken)):
                text = f"Invalid IPCidrRange: {wanted} conflicts with existing subnetwork '{body['name']}'."
                raise invalid("resource.ipCidrRange", text)
        return wanted

    def _start(self, verb: str, full: str, finish: Any, call: Call) -> Body:
        scope = re.sub(r"/(sub)?networks/[^/]+$", "", full)
        return self._state.operations.start(scope, "compute", verb, full, finish, user=call.caller)


def _collection(call: Call) -> str:
    return call.path.removeprefix("/compute/v1/").strip("/")


_name = _collection


def _identity(kind: str, full: str) -> Body:
    number = str(uuid.uuid4().int % 10**19)
    name = full.rpartition("/")[2]
    stamp = timestamp()
    link = f"{ROOT}/{full}"
    return {"kind": kind, "id": number, "name": name, "creationTimestamp": stamp, "selfLink": link}


def _relative(reference: str, project: str) -> str:
    """``projects/p/global/networks/n`` for a URL, a partial URL or a bare name."""
    found = re.search(r"projects/[^/]+/global/networks/[^/]+$", reference)
    return found[0] if found else f"projects/{project}/global/networks/{reference.rpartition('/')[2]}"


def _fingerprint(body: Body) -> str:
    plain = {key: value for key, value in body.items() if key != "fingerprint"}
    return base64.b64encode(etag(plain).encode()[1:9]).decode()
