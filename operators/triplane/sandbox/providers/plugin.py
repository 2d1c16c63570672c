"""Serves a provider table over Terraform's plugin protocol. Runs in the provider's own environment."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from typing import Any

import tf.provider
import tf.runner
from tf import iface, schema, types
from tf.gen import tfplugin_pb2 as pb
from tf.utils import read_dynamic_value, to_dynamic_value

from triplane.sandbox.providers.planning import plan, settle
from triplane.sandbox.providers.schema import (
    Attribute,
    Block,
    Body,
    CloudError,
    NotFound,
    Provider,
    Resource,
    State,
)

NESTING = {
    "list": pb.Schema.NestedBlock.LIST,
    "set": pb.Schema.NestedBlock.SET,
    "single": pb.Schema.NestedBlock.SINGLE,
}


class WireType(types.TfType):
    """A type whose Python values are those on the wire; equality is Terraform's business and the planner's."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def encode(self, value: Any) -> Any:
        return value

    def decode(self, value: Any) -> Any:
        return value

    def tf_type(self) -> bytes:
        return self._name


class WireBlock(schema.NestedBlock):
    """A nested block that is passed through as it is."""

    def __init__(self, name: str, block: Block) -> None:
        super().__init__(name, schema.NestMode.Set, schema.Block(_attributes(block), _blocks(block)))
        self._nesting = NESTING[block.nesting]
        self._required = block.required

    def to_pb(self) -> Any:
        least = 1 if self._required else 0
        return pb.Schema.NestedBlock(
            type_name=self.type_name, block=self.block.to_pb(), min_items=least, nesting=self._nesting
        )

    def encode(self, value: Any) -> Any:
        return value

    def decode(self, value: Any) -> Any:
        return value

    def semantically_equal(self, left: Any, right: Any) -> bool:
        return bool(left == right)


def wire_name(attribute: Attribute) -> str:
    """The type as Terraform writes it, in JSON."""
    if attribute.objects is not None:
        members = ",".join(f'"{name}":{wire_name(member)}' for name, member in attribute.objects.items())
        return f'["list",["object",{{{members}}}]]'
    outer, _, inner = attribute.type.rstrip(")").partition("(")
    return f'["{outer}","{inner}"]' if inner else f'"{outer}"'


def _attributes(body: Body) -> list[schema.Attribute]:
    return [
        schema.Attribute(
            name,
            WireType(wire_name(attribute).encode()),
            required=attribute.required,
            optional=attribute.optional,
            computed=attribute.computed,
            sensitive=attribute.sensitive,
            requires_replace=attribute.replace,
        )
        for name, attribute in body.attributes.items()
    ]


def _blocks(body: Body) -> list[schema.NestedBlock]:
    return [WireBlock(name, block) for name, block in body.blocks.items()]


def _known(state: State) -> State:
    """The state with null for every value that is still unknown."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: clean(item) for name, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        return None if value is types.Unknown else value

    return {name: clean(value) for name, value in state.items()}


class RowResource(iface.Resource):
    """A row of a provider's table as the plugin library sees it."""

    row: Resource[Any]

    def __init__(self, provider: Plugin) -> None:
        self._cloud = provider.cloud

    @classmethod
    def get_name(cls) -> str:
        return cls.row.name

    @classmethod
    @functools.cache
    def get_schema(cls) -> schema.Schema:
        return schema.Schema(attributes=_attributes(cls.row), version=0, block_types=_blocks(cls.row))

    def create(self, ctx: Any, planned: State) -> State | None:
        state = _known(planned)
        try:
            state["id"] = self.row.create(self._cloud, state)
        except (CloudError, NotFound, OSError) as error:
            ctx.diagnostics.add_error(f"creating {ctx.type_name}: {error}")
            return None
        return self._observe(ctx, state, "reading the new")

    def read(self, ctx: Any, current: State) -> State | None:
        try:
            return settle(self.row, current, self.row.read(self._cloud, current))
        except NotFound:
            return None
        except (CloudError, OSError) as error:
            ctx.diagnostics.add_error(f"reading {ctx.type_name} {current['id']}: {error}")
            return current

    def update(self, ctx: Any, current: State, planned: State) -> State | None:
        state = _known(planned)
        try:
            if self.row.update:
                self.row.update(self._cloud, current, state)
        except (CloudError, NotFound, OSError) as error:
            ctx.diagnostics.add_error(f"updating {ctx.type_name} {current['id']}: {error}")
            return self.read(ctx, current) or current
        return self._observe(ctx, state, "reading the updated")

    def delete(self, ctx: Any, current: State) -> State | None:
        try:
            self.row.delete(self._cloud, current)
        except NotFound:
            pass
        except (CloudError, OSError) as error:
            ctx.diagnostics.add_error(f"deleting {ctx.type_name} {current['id']}: {error}")
            return current
        return None

    def import_(self, ctx: Any, id: str) -> State | None:
        empty: State = dict.fromkeys(self.row.attributes) | {name: [] for name in self.row.blocks}
        return self.read(ctx, empty | {"id": id})

    def _observe(self, ctx: Any, state: State, what: str) -> State:
        try:
            return settle(self.row, state, self.row.read(self._cloud, state))
        except (CloudError, NotFound, OSError) as error:
            ctx.diagnostics.add_error(f"{what} {ctx.type_name} {state['id']}: {error}")
            return state


class Servicer(tf.provider.ProviderServicer):
    """The library's servicer with planning of nested blocks and of dependent computed attributes."""

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        prior = read_dynamic_value(request.prior_state)
        proposed = read_dynamic_value(request.proposed_new_state)
        if proposed is None:
            return pb.PlanResourceChange.Response(planned_state=request.proposed_new_state)
        row = self._get_res_cls(request.type_name).row
        config = read_dynamic_value(request.config) or {}
        planned, replaced = plan(row, prior, proposed, config, types.Unknown)
        paths = [pb.AttributePath(steps=[pb.AttributePath.Step(attribute_name=name)]) for name in replaced]
        return pb.PlanResourceChange.Response(planned_state=to_dynamic_value(planned), requires_replace=paths)


class Plugin(iface.Provider):
    """A provider table as the plugin library sees it."""

    def __init__(self, provider: Provider[Any]) -> None:
        self._provider = provider
        self._classes = [
            type(f"Resource_{row.name}", (RowResource,), {"row": row}) for row in provider.resources
        ]
        self.cloud: Any = None

    def get_model_prefix(self) -> str:
        return f"{self._provider.name}_"

    def get_provider_schema(self, diags: Any) -> schema.Schema:
        arguments = self._provider.arguments
        return schema.Schema(attributes=_attributes(arguments), version=0, block_types=_blocks(arguments))

    def full_name(self) -> str:
        return f"registry.terraform.io/hashicorp/{self._provider.name}"

    def validate_config(self, diags: Any, config: State) -> None:
        pass

    def configure_provider(self, diags: Any, config: State) -> None:
        try:
            self.cloud = self._provider.connect(config or {})
        except (CloudError, OSError) as error:
            diags.add_error(f"configuring the provider: {error}")

    def get_data_sources(self) -> list[type[iface.DataSource]]:
        return []

    def get_resources(self) -> list[type[iface.Resource]]:
        return list(self._classes)


def main(name: str) -> None:
    """Serve the provider called ``name`` until Terraform ends it."""
    table = importlib.import_module(f"triplane.sandbox.providers.{name}.table")
    tf.provider.ProviderServicer = Servicer
    # The library keeps its TLS certificate in the home directory; here it lives beside the launcher.
    certificate = Path(sys.argv[1]) / "certificate.json"
    tf.runner._get_cert_cache_path = lambda: certificate
    tf.runner.run_provider(Plugin(table.PROVIDER), argv=[name])
