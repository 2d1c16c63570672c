"""Where a stack's state is kept: ``-backend-config`` for the clouds' own backends.

The stack's HCL says only ``backend "s3" {}`` (``gcs``, ``azurerm``); everything else comes from here,
in a private file. Credentials are not part of it: they travel in the environment.
"""

from __future__ import annotations

from collections.abc import Mapping

from triplane.core.errors import InputError

BACKENDS = {"aws": "s3", "gcp": "gcs", "azure": "azurerm"}

BackendConfig = dict[str, str | bool]


def state_key(platform: str, environment: str, stack: str) -> str:
    """The name of a stack's state: ``<platform>/<environment>/<stack>.tfstate``."""
    return f"{platform}/{environment}/{stack}.tfstate"


def backend_config(
    cloud: str | None, backend: Mapping[str, object], *, region: str | None = None
) -> BackendConfig:
    """What ``terraform init -backend-config`` gets for ``backend``.

    ``backend`` holds ``key`` (see :func:`state_key`) and the place as in ``platform.yaml``: ``bucket`` and
    maybe ``lock_table`` (aws), ``bucket`` (gcp), ``resource_group``, ``storage_account`` and ``container``
    (azure). Settings beyond these are the backend's own and are passed on as they are. Without a cloud, all
    are passed on: ``{"path": "/srv/state/network.tfstate"}`` for ``backend "local" {}``.

    GCS names objects itself: ``<platform>/<environment>/<stack>/default.tfstate``.

    :raises InputError: a setting is missing
    """
    settings = {name: _plain(value) for name, value in backend.items() if value not in (None, "")}
    render = {"aws": _s3, "gcp": _gcs, "azure": _azurerm}
    if cloud is None:
        return settings
    try:
        return render[cloud](settings, region)
    except KeyError as error:
        kind = BACKENDS.get(cloud, cloud)
        raise InputError(f"the {kind} state backend of cloud {cloud} needs {error.args[0]!r}") from None


def _s3(settings: BackendConfig, region: str | None) -> BackendConfig:
    config: BackendConfig = {"bucket": settings.pop("bucket"), "key": settings.pop("key"), "encrypt": True}
    if region:
        config["region"] = region
    table = settings.pop("lock_table", None)
    lock: BackendConfig = {"use_lockfile": True} if table is None else {"dynamodb_table": table}
    return config | lock | settings


def _gcs(settings: BackendConfig, region: str | None) -> BackendConfig:
    prefix = str(settings.pop("key")).removesuffix(".tfstate")
    return {"bucket": settings.pop("bucket"), "prefix": prefix, **settings}


def _azurerm(settings: BackendConfig, region: str | None) -> BackendConfig:
    return {
        "resource_group_name": settings.pop("resource_group"),
        "storage_account_name": settings.pop("storage_account"),
        "container_name": settings.pop("container"),
        "key": settings.pop("key"),
        **settings,
    }


def _plain(value: object) -> str | bool:
    return value if isinstance(value, bool) else str(value)
