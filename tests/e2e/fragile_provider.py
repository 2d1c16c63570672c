"""A Terraform provider that dies, as by a bug of its own or for want of memory, when it meets a thing called
``dies in plan`` or ``dies in create``. Terraform starts it as a script of the provider's Python::

    fragile_provider.py SOURCES FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

import tf.provider
import tf.runner
from tf.utils import read_dynamic_value

from triplane.sandbox.providers import plugin
from triplane.sandbox.providers.schema import Body, Provider, Resource


def create(cloud: None, state: dict[str, Any]) -> str:
    if state["name"] == "dies in create":
        os._exit(2)
    return f"id-of-{state['name']}"


class Servicer(plugin.Servicer):
    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        proposed = read_dynamic_value(request.proposed_new_state) or {}
        if proposed.get("name") == "dies in plan":
            os._exit(2)
        return super().PlanResourceChange(request, context)


THING = Resource[None](
    lines={"id": "computed string", "name": "required string replace"},
    name="thing",
    create=create,
    read=lambda cloud, state: {"id": state["id"], "name": state["name"]},
    delete=lambda cloud, state: None,
)
PROVIDER = Provider[None](
    name="fragile", version="1.0.0", arguments=Body({}), resources=(THING,), connect=lambda config: None
)

if __name__ == "__main__":
    tf.provider.ProviderServicer = Servicer
    tf.runner._get_cert_cache_path = lambda: Path(sys.argv[2]) / "certificate.json"
    tf.runner.run_provider(plugin.Plugin(PROVIDER), argv=["fragile"])
