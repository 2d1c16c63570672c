"""What Azure Resource Manager accepts, taken from Microsoft's own SDKs.

URL templates, methods and api-versions come from the SDKs' request builders, body fields from their models.
The result is plain JSON, so that a server need not import the SDKs.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

FORMAT = 5
Type = str | dict[str, Any]

SDKS = {
    "resource": "azure.mgmt.resource.resources",
    "network": "azure.mgmt.network",
    "storage": "azure.mgmt.storage",
    "containerservice": "azure.mgmt.containerservice",
    "containerregistry": "azure.mgmt.containerregistry",
    "tasks": "azure.mgmt.containerregistrytasks",
    "web": "azure.mgmt.web",
    "containerapps": "azure.mgmt.appcontainers",
    "postgresql": "azure.mgmt.postgresqlflexibleservers",
    "msi": "azure.mgmt.msi.v2024_11_30",
    "logic": "azure.mgmt.logic",
    "eventhub": "azure.mgmt.eventhub",
}
DISTRIBUTIONS = (
    "azure-mgmt-resource",
    "azure-mgmt-network",
    "azure-mgmt-storage",
    "azure-mgmt-containerservice",
    "azure-mgmt-containerregistry",
    "azure-mgmt-containerregistrytasks",
    "azure-mgmt-web",
    "azure-mgmt-appcontainers",
    "azure-mgmt-postgresqlflexibleservers",
    "azure-mgmt-msi",
    "azure-mgmt-logic",
    "azure-mgmt-eventhub",
)

# resource type -> SDK, model of PUT, model of PATCH
BODIES = {
    "Microsoft.Resources/resourceGroups": ("resource", "ResourceGroup", "ResourceGroupPatchable"),
    "Microsoft.Network/virtualNetworks": ("network", "VirtualNetwork", "TagsObject"),
    "Microsoft.Network/virtualNetworks/subnets": ("network", "Subnet", None),
    "Microsoft.Storage/storageAccounts": (
        "storage",
        "StorageAccountCreateParameters",
        "StorageAccountUpdateParameters",
    ),
    "Microsoft.Storage/storageAccounts/blobServices/containers": (
        "storage",
        "BlobContainer",
        "BlobContainer",
    ),
    "Microsoft.ContainerService/managedClusters": ("containerservice", "ManagedCluster", "TagsObject"),
    "Microsoft.ContainerService/managedClusters/agentPools": ("containerservice", "AgentPool", None),
    "Microsoft.ContainerRegistry/registries": (
        "containerregistry",
        "Registry",
        "RegistryUpdateParameters",
    ),
    "Microsoft.Web/serverfarms": ("web", "AppServicePlan", "AppServicePlanPatchResource"),
    "Microsoft.Web/sites": ("web", "Site", "SitePatchResource"),
    "Microsoft.Web/sites/config/appsettings": ("web", "StringDictionary", None),
    "Microsoft.Web/sites/config/web": ("web", "SiteConfigResource", "SiteConfigResource"),
    "Microsoft.Web/sites/config/metadata": ("web", "StringDictionary", None),
    "Microsoft.Web/sites/config/slotConfigNames": ("web", "SlotConfigNamesResource", None),
    "Microsoft.Web/sites/slots": ("web", "Site", "SitePatchResource"),
    "Microsoft.Web/sites/slots/config/appsettings": ("web", "StringDictionary", None),
    "Microsoft.Web/sites/slots/config/web": ("web", "SiteConfigResource", "SiteConfigResource"),
    "Microsoft.App/managedEnvironments": ("containerapps", "ManagedEnvironment", "ManagedEnvironment"),
    "Microsoft.App/containerApps": ("containerapps", "ContainerApp", "ContainerApp"),
    "Microsoft.DBforPostgreSQL/flexibleServers": ("postgresql", "Server", "ServerForPatch"),
    "Microsoft.DBforPostgreSQL/flexibleServers/databases": ("postgresql", "Database", None),
    "Microsoft.DBforPostgreSQL/flexibleServers/firewallRules": ("postgresql", "FirewallRule", None),
    "Microsoft.Logic/workflows": ("logic", "Workflow", "Workflow"),
    "Microsoft.EventHub/namespaces": ("eventhub", "EHNamespace", "EHNamespace"),
    "Microsoft.EventHub/namespaces/eventhubs": ("eventhub", "Eventhub", None),
    "Microsoft.EventHub/namespaces/eventhubs/consumergroups": ("eventhub", "ConsumerGroup", None),
    "Microsoft.ManagedIdentity/userAssignedIdentities": ("msi", "Identity", "IdentityUpdate"),
}

# resource type and action -> SDK, model of POST
ACTION_BODIES = {
    "Microsoft.ContainerRegistry/registries/scheduleRun": ("tasks", "DockerBuildRequest"),
    "Microsoft.Web/sites/slotsswap": ("web", "CsmSlotEntity"),
    "Microsoft.Web/sites/slots/slotsswap": ("web", "CsmSlotEntity"),
}
# SDKs whose enumerations are checked; the others' grow faster than the SDKs do.
ENUMS = frozenset({"web", "containerapps", "eventhub"})

# Versions that other well-known clients of a namespace send, beside the SDK's own.
OTHER_API_VERSIONS = {
    "microsoft.storage": ["2023-01-01", "2023-05-01", "2021-01-01"],
    "microsoft.eventhub": ["2024-01-01"],
    "microsoft.resources": ["2021-04-01", "2022-09-01", "2024-03-01"],
}

_BUILDER = re.compile(r"^def build_\w+_request\(", re.M)
_URL = re.compile(r'_url = (?:kwargs\.pop\(\s*"template_url",\s*)?\(?\s*"(/[^"]+)"')
_VERSION = re.compile(r"""(?:_params|kwargs)\.pop\(["']api[-_]version["'], "([^"]+)"\)""")
_METHOD = re.compile(r'HttpRequest\(\s*method="([A-Z]+)"')
_WANTED = re.compile(
    r"^/subscriptions/\{subscriptionId\}/resourcegroups(/\{resourceGroupName\})?$"
    r"|/providers/(" + "|".join(re.escape(name) for name in BODIES) + r")(/|$)",
    re.I,
)


def fingerprint() -> str:
    """Names the SDK versions that a contract was made of: part of the name of a cached contract."""
    versions = [importlib.metadata.version(name) for name in DISTRIBUTIONS]
    return "-".join([str(FORMAT), *versions])


def build() -> dict[str, Any]:
    """``{"operations": [...], "models": {...}, "bodies": {...}}``; takes a few seconds and 500 MB."""
    reader = ModelReader()
    bodies = {}
    for name, (sdk, put, patch) in BODIES.items():
        bodies[name.lower()] = {
            "type": name,
            "PUT": reader.add(sdk, put),
            "PATCH": reader.add(sdk, patch) if patch else None,
        }
    for name, (sdk, model) in ACTION_BODIES.items():
        bodies[name.lower()] = {"type": name, "POST": reader.add(sdk, model)}
    operations = [operation for module in SDKS.values() for operation in read_operations(module)]
    return {"operations": operations, "models": reader.models, "bodies": bodies}


def read_operations(module: str) -> list[dict[str, Any]]:
    """Method, URL template and api-versions of every request that the SDK can make on a known type."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} is not installed; install airflow-provider-triplane[sandbox]")
    found = []
    for file in sorted((Path(spec.origin).parent / "operations").glob("*_operations.py")):
        found += list(_operations(file.read_text()))
    return found


def _operations(text: str) -> Iterator[dict[str, Any]]:
    for builder in _BUILDER.split(text)[1:]:
        head = builder[:6000]
        url, version, method = _URL.search(head), _VERSION.search(head), _METHOD.search(head)
        if url and version and method and _WANTED.search(url[1]):
            namespace = _namespace(url[1])
            versions = sorted({version[1], *OTHER_API_VERSIONS.get(namespace, [])})
            yield {"method": method[1], "template": url[1], "api_versions": versions}


def _namespace(template: str) -> str:
    match = re.search(r"/providers/([^/{]+)/", template)
    return match[1].lower() if match else "microsoft.resources"


class ModelReader:
    """Collects models with everything they refer to, as plain values."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, Any]] = {}

    def add(self, sdk: str, name: str) -> str:
        """Reads one model by name and returns its key in ``models``."""
        return self._class(sdk, getattr(importlib.import_module(f"{SDKS[sdk]}.models"), name))

    def _class(self, sdk: str, cls: type) -> str:
        key = f"{sdk}.{cls.__name__}"
        if key not in self.models:
            fields: dict[str, Any] = {}
            self.models[key] = fields
            for item in (cls, *_subclasses(cls)):
                old_style = hasattr(item, "_attribute_map")
                self._attribute_map(sdk, item, fields) if old_style else self._rest_fields(sdk, item, fields)
        return key

    def _rest_fields(self, sdk: str, cls: Any, fields: dict[str, Any]) -> None:
        hints = _hints(cls)
        for base in reversed(cls.__mro__):
            for attribute, rest in vars(base).items():
                if type(rest).__name__ != "_RestField":
                    continue
                hint = hints.get(attribute, Any)
                fields.setdefault(
                    rest._rest_name_input or attribute,
                    {
                        "type": self._hint(sdk, hint),
                        "readonly": list(rest._visibility or []) == ["read"],
                        "required": type(None) not in typing.get_args(hint) and not rest._is_discriminator,
                    },
                )

    def _hint(self, sdk: str, hint: Any) -> Type:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            inner = [item for item in arguments if item is not type(None)]
            enums = [item for item in inner if inspect.isclass(item) and issubclass(item, Enum)]
            if sdk in ENUMS and enums:
                return {"enum": [str(each.value) for each in enums[0]]}
            kinds = {_freeze(self._hint(sdk, item)): self._hint(sdk, item) for item in inner}
            return next(iter(kinds.values())) if len(kinds) == 1 else "any"
        if origin in (list, typing.Sequence):
            return {"list": self._hint(sdk, arguments[0])}
        if origin is dict:
            return {"map": self._hint(sdk, arguments[1])}
        if not inspect.isclass(hint):
            return "str" if origin is typing.Literal else "any"
        if issubclass(hint, Enum):
            return "str"
        scalars: dict[type, str] = {str: "str", bool: "bool", int: "int", float: "float"}
        if hint in scalars:
            return scalars[hint]
        return {"model": self._class(sdk, hint)} if _is_model(hint) else "any"

    def _attribute_map(self, sdk: str, cls: Any, fields: dict[str, Any]) -> None:
        """Older generators flatten ``properties``: the key ``properties.tenantId`` is two levels."""
        validation = getattr(cls, "_validation", {})
        for attribute, entry in cls._attribute_map.items():
            rules = validation.get(attribute, {})
            head, _, tail = entry["key"].partition(".")
            field = {
                "type": _old_type(entry["type"]),
                "readonly": rules.get("readonly", False),
                "required": rules.get("required", False),
            }
            if not tail:
                fields[head] = field
                continue
            inner = f"{sdk}.{cls.__name__}.{head}"
            fields[head] = {"type": {"model": inner}, "readonly": False, "required": False}
            self.models.setdefault(inner, {})[tail] = field


def _old_type(name: str) -> Type:
    if name in ("str", "bool", "int", "float"):
        return name
    return {"map": _old_type(name[1:-1])} if name.startswith("{") else "any"


def _is_model(cls: type) -> bool:
    return any(base.__name__ == "Model" and "azure.mgmt" in base.__module__ for base in cls.__mro__)


def _subclasses(cls: Any) -> Iterator[Any]:
    """The variants of a model that is told apart by a discriminator."""
    if any(
        getattr(field, "_is_discriminator", False) for base in cls.__mro__ for field in vars(base).values()
    ):
        for child in cls.__subclasses__():
            yield child
            yield from _subclasses(child)


def _hints(cls: Any) -> Mapping[str, Any]:
    hints: dict[str, Any] = {}
    package = cls.__module__.partition(".models")[0]
    names = {"_models": importlib.import_module(f"{package}.models"), "_types": Any}
    for base in reversed(cls.__mro__):
        if "azure.mgmt" not in base.__module__ or base.__name__ in ("Model", "_MyMutableMapping"):
            continue
        scope = {**vars(importlib.import_module(base.__module__)), **names}
        for attribute, text in vars(base).get("__annotations__", {}).items():
            try:
                hints[attribute] = eval(text, scope) if isinstance(text, str) else _forward(text, scope)
            except (AttributeError, NameError):
                hints[attribute] = Any
    return hints


def _forward(hint: Any, scope: Mapping[str, Any]) -> Any:
    return typing.get_type_hints(types.SimpleNamespace(__annotations__={"it": hint}), dict(scope))["it"]


def _freeze(value: Type) -> str:
    return repr(value)
