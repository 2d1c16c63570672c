"""Looks for secrets that have a newer version than the one that was deployed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from triplane import settings
from triplane.checking import CheckingOperator, Component, Seen


class Secret(NamedTuple):
    """What is compared: ``users`` are the addresses of the components that get it."""

    address: str
    scope: str
    reference: str
    users: Sequence[str]


class SecretComponent(Component):
    """The versions of one secret that its users were deployed with, and the latest."""

    operator: Secret

    def deployed_by(self, task_id: str, arguments: dict[str, Any]) -> Secret:
        """No operator deploys a secret."""
        return Secret(**arguments)

    def look_up(self, stack: ExitStack) -> None:
        """Ask the store, with a connection."""
        from triplane.core import deployed
        from triplane.secrets.versions import current

        name = self.operator.address.rpartition("/")[2]
        records = deployed.read(settings.artifact_store(), self.operator.scope)
        known = {user: records.get(user, {}).get("secrets", {}).get(name) for user in self.operator.users}
        self.deployed = {user: version for user, version in known.items() if version}
        self.latest = current({"": {name: self.operator.reference}})[""][name]

    def look(self) -> Seen:
        """Newer than deployed, for each component that uses it."""
        from triplane.core.drift import finding

        if not self.deployed:
            return Seen(pending="nothing is deployed with it yet")
        return Seen(
            [
                finding(
                    f"secret of {user}",
                    "update",
                    [{"name": "version", "before": version, "after": f"{self.latest}, newer than deployed"}],
                )
                for user, version in self.deployed.items()
                if version != self.latest
            ]
        )


class SecretDriftBatchOperator(CheckingOperator):
    """Compare secrets of the clouds' stores with the versions that components were deployed with.

    A rotated secret is drift until the components that use it are deployed again.

    :param components: for each secret ``address`` (``aws/secret/database``), ``scope``, ``reference`` (as
        :class:`triplane.secrets.stored.Stored` writes it) and ``users``, the addresses of those that get it (templated)
    """

    component = SecretComponent
