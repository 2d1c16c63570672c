"""A provider whose cloud is one JSON file, so that drift and deposed objects can be made at will.

An id repeats the name, as in many real providers: a name that is secret shows up in an attribute that is not marked.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tf import iface, runner, types
from tf.schema import Attribute, Schema

WORLD = Path(os.environ["LAB_WORLD"])
STUCK = "stuck"


def world() -> dict[str, Any]:
    return json.loads(WORLD.read_text()) if WORLD.exists() else {}


class Thing(iface.Resource):
    """``name`` forces a replacement, ``secret`` is sensitive. What is named ``stuck`` cannot be deleted."""

    def __init__(self, provider: iface.Provider) -> None:
        pass

    @classmethod
    def get_name(cls) -> str:
        return "thing"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            version=1,
            attributes=[
                Attribute("name", types.String(), required=True, requires_replace=True),
                Attribute("size", types.Number(), optional=True),
                Attribute("enabled", types.Bool(), optional=True),
                Attribute("tags", types.Map(types.String()), optional=True),
                Attribute("rules", types.List(types.String()), optional=True),
                Attribute("members", types.Set(types.String()), optional=True),
                Attribute("secret", types.String(), optional=True, sensitive=True),
                Attribute("id", types.String(), computed=True),
                Attribute("version", types.String(), computed=True),
            ],
        )

    def _put(self, key: str, state: dict[str, Any], version: int) -> dict[str, Any]:
        WORLD.write_text(json.dumps(world() | {key: state | {"id": key, "version": str(version)}}))
        return self._get(key)

    def _get(self, key: str) -> dict[str, Any]:
        found = world().get(key)
        return found and {attribute.name: None for attribute in self.get_schema().attributes} | found

    def create(self, ctx: Any, planned: dict[str, Any]) -> dict[str, Any]:
        return self._put(f"id-{planned['name']}", planned, 1)

    def update(self, ctx: Any, current: dict[str, Any], planned: dict[str, Any]) -> dict[str, Any]:
        return self._put(current["id"], planned, int(current["version"]) + 1)

    def read(self, ctx: Any, current: dict[str, Any]) -> dict[str, Any]:
        return self._get(current["id"])

    def delete(self, ctx: Any, current: dict[str, Any]) -> None:
        if current["name"] == STUCK:
            ctx.diagnostics.add_error("it is stuck", "and cannot be deleted")
        else:
            WORLD.write_text(
                json.dumps({key: thing for key, thing in world().items() if key != current["id"]})
            )

    def plan(self, ctx: Any, current: dict[str, Any], planned: dict[str, Any]) -> dict[str, Any]:
        if ctx.changed_fields:
            planned["version"] = types.Unknown
        if "name" in ctx.changed_fields:
            planned["id"] = types.Unknown
        return planned

    def import_(self, ctx: Any, id: str) -> dict[str, Any]:
        return self._get(id)


class Look(iface.DataSource):
    """The name of the thing with an id."""

    def __init__(self, provider: iface.Provider) -> None:
        pass

    @classmethod
    def get_name(cls) -> str:
        return "look"

    @classmethod
    def get_schema(cls) -> Schema:
        return Schema(
            attributes=[
                Attribute("id", types.String(), required=True),
                Attribute("name", types.String(), computed=True),
            ]
        )

    def read(self, ctx: Any, config: dict[str, Any]) -> dict[str, Any]:
        return {"id": config["id"], "name": world()[config["id"]]["name"]}


class Lab(iface.Provider):
    def get_model_prefix(self) -> str:
        return "lab_"

    def full_name(self) -> str:
        return "example.test/lab/lab"

    def get_provider_schema(self, diags: Any) -> Schema:
        return Schema(version=1, attributes=[Attribute("region", types.String(), optional=True)])

    def validate_config(self, diags: Any, config: Any) -> None:
        pass

    def configure_provider(self, diags: Any, config: Any) -> None:
        pass

    def get_data_sources(self) -> list[Any]:
        return [Look]

    def get_resources(self) -> list[Any]:
        return [Thing]


if __name__ == "__main__":
    runner.run_provider(Lab())
