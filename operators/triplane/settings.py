"""Airflow's configuration and connections, turned into the values that the features work with."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.configuration import conf

from triplane.core.digest import canonical_json
from triplane.core.errors import InputError

if TYPE_CHECKING:
    from triplane.core.change import ChangeSet
    from triplane.core.history import Version
    from triplane.core.ledger import Ledger
    from triplane.core.redact import Redactor
    from triplane.core.store import ArtifactStore

SECTION = "triplane"
SECRET_KINDS = ("variable", "connection")
SOURCE_SECONDS = 7 * 24 * 3600.0
_secrets: set[str] = set()


def artifact_store() -> ArtifactStore:
    """The store at ``[triplane] artifact_store``, encrypted with ``[triplane] artifact_key``."""
    from triplane.core.store import ArtifactStore

    return ArtifactStore(_root(), _keys("artifact_key"))


def ledger(scope: str) -> Ledger:
    """The ledger of ``<environment>/<cloud>``."""
    from triplane.core.ledger import Ledger

    return Ledger(_root(), scope, signing_keys() if has_signing_key() else ())


def ledgers() -> list[Ledger]:
    """All ledgers of this installation, by the name of their scope."""
    from triplane.core.ledger import scopes

    return [ledger(scope) for scope in scopes(_root())]


def has_signing_key() -> bool:
    """Whether this process can sign: workers can, where ``[triplane] signing_key`` is set."""
    return bool(conf.get(SECTION, "signing_key", fallback=None))


def signing_keys() -> list[str]:
    """The keys that sign and check decisions, the newest first; only workers need them."""
    from triplane.core.keys import check_keys

    return list(check_keys(_keys("signing_key")))


def platform_file() -> Path:
    """The ``platform.yaml`` that the DAGs are built from: ``[triplane] platform``."""
    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
    return Path(conf.get(SECTION, "platform", fallback=None) or home / "platform.yaml")


def terraform_bin() -> str | None:
    """The Terraform or OpenTofu of this worker, where ``[triplane] terraform_bin`` names one."""
    return conf.get(SECTION, "terraform_bin", fallback=None) or None


def pod_template(cloud: str) -> str | None:
    """The Kubernetes executor's pod for tasks of this cloud: ``<cloud>.yaml`` in ``[triplane] pod_templates``."""
    folder = conf.get(SECTION, "pod_templates", fallback=None)
    return str(Path(folder) / f"{cloud}.yaml") if folder else None


def redactor() -> Redactor:
    """Knows every secret that this process has resolved so far."""
    from triplane.core.redact import Redactor

    return Redactor(_secrets)


def register_secret(value: str) -> str:
    """Have ``value`` masked from now on, by us and in Airflow's logs; returns it."""
    from airflow.sdk.log import mask_secret

    if value:
        _secrets.add(value)
        mask_secret(value)
    return value


def claim(environment: str, platform: str) -> None:
    """Take ``environment`` for ``platform``: in one artifact store each has its ledger, outputs and drift once.

    :raises InputError: it belongs to another platform
    """
    if environment_owner(environment) is None:
        artifact_store().create_named(f"environments/{environment}", platform.encode())
    check_owner(environment, platform)


def environment_owner(environment: str) -> str | None:
    """The platform that has taken ``environment``, None if none has."""
    owner = artifact_store().get_named(f"environments/{environment}")
    return None if owner is None else owner.decode()


def check_owner(environment: str, platform: str) -> None:
    """:raises InputError: ``environment`` belongs to another platform"""
    owner = environment_owner(environment)
    if owner not in (None, platform):
        raise InputError(
            f"the environment {environment} of this artifact store belongs to the platform {owner}; "
            f"{platform} needs another name for it, or an artifact store of its own"
        )


def pinned_commit(context: Any, folder: str) -> str | None:
    """The commit that a run is pinned to, where ``folder`` is in the checkout of the git bundle of its DAG file."""
    from triplane.core.git import is_commit

    bundle = getattr(context.get("ti"), "bundle_instance", None)
    version, checkout = getattr(bundle, "version", None), getattr(bundle, "repo_path", None)
    if not isinstance(version, str) or not is_commit(version) or checkout is None:
        return None
    return version if Path(folder).resolve().is_relative_to(Path(checkout).resolve()) else None


def put_outputs(scope: str, stack: str, outputs: Mapping[str, Any]) -> None:
    """Keep a stack's real outputs (name -> value) for the components that refer to them."""
    artifact_store().put_named(f"outputs/{scope}/{stack}", canonical_json(dict(outputs)))


def get_outputs(scope: str, stack: str) -> dict[str, Any] | None:
    """A stack's outputs as of its last apply or unchanged plan, None if there was none."""
    data = artifact_store().get_named(f"outputs/{scope}/{stack}")
    return None if data is None else json.loads(data)


def lookup(scope: str) -> Callable[[str], Any]:
    """What references stand for in ``scope`` (``<environment>/<cloud>``).

    ``${network.vpc_id}`` is an output of a stack, ``${variable.name}`` an Airflow Variable,
    ``${connection.conn_id}`` the password of an Airflow connection; the latter two are taken for
    secrets and masked as soon as they are read. The returned function raises KeyError for a name
    without value.
    """
    cache: dict[str, Any] = {}

    def find(name: str) -> Any:
        if name not in cache:
            kind, _, rest = name.partition(".")
            cache[name] = _secret(kind, rest) if kind in SECRET_KINDS else _output(scope, kind, rest)
        return cache[name]

    return find


def source_dir(source: str) -> Path:
    """The frozen source of this digest, unpacked in a private cache; treat it as read-only.

    It is fetched once by each worker, and removed when nobody has asked for it for a week.
    """
    import tarfile

    from triplane.core.private import user_dir

    base = user_dir("sources")
    target = base / source.removeprefix("sha256:")
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            data = artifact_store().get(source)
            with tempfile.TemporaryDirectory(dir=base) as scratch:
                with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                    archive.extractall(scratch, filter="data")
                os.rename(scratch, target)
                os.mkdir(scratch)
        os.utime(target)
        for other in base.iterdir():
            if other.is_dir() and time.time() - other.stat().st_mtime > SOURCE_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
    return target


def get_change_set(digest: str) -> ChangeSet:
    """The change set of this digest. :raises RefusedError: it is missing or was changed"""
    from triplane.core.change import ChangeSet

    return ChangeSet.from_json(json.loads(artifact_store().get(digest)))


def put_change_set(change_set: ChangeSet) -> str:
    """Keep a change set and return its digest."""
    return artifact_store().put(canonical_json(change_set.to_json()))


def frozen_version(versions: Sequence[Version]) -> dict[str, Any]:
    """Versions of the same source, one a cloud, as what a freeze task returns: with the images deployed then."""
    images: dict[str, str] = {}
    for version in versions:
        images |= get_change_set(version.change_set).images
    source, revision = versions[0].source, versions[0].revision
    return {"source": source, "revision": revision, "asked": revision, "images": images, "tests": {}}


def _root() -> Any:
    from airflow.sdk import ObjectStoragePath

    from triplane.core.files import AZURE, EXCLUSIVE

    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
    root = ObjectStoragePath(conf.get(SECTION, "artifact_store", fallback=None) or f"file://{home}/triplane")
    if root.protocol not in EXCLUSIVE:
        raise InputError(
            f"[triplane] artifact_store cannot be {root.protocol}://, where two who write to the ledger at once are not "
            "told apart; take a file system, s3://, gs:// or abfs://"
        )
    if root.protocol in AZURE:
        from triplane.core.chatter import quiet_azure

        quiet_azure()
    return root


def _keys(option: str) -> list[str]:
    value = conf.get(SECTION, option, fallback=None) or ""
    keys = [register_secret(key.strip()) for key in value.split(",") if key.strip()]
    if not keys:
        raise InputError(
            f"[triplane] {option} is not set; make a key with `triplane keys` "
            f"and set AIRFLOW__TRIPLANE__{option.upper()}"
        )
    return keys


def _secret(kind: str, name: str) -> str:
    from airflow.sdk import BaseHook, Variable
    from airflow.sdk.exceptions import AirflowNotFoundException

    if kind == "variable":
        value = Variable.get(name, default=None)
    else:
        try:
            value = BaseHook.get_connection(name).password
        except AirflowNotFoundException:
            value = None
    if value is None:
        raise KeyError(f"Airflow has no {kind} {name}, or it holds no secret")
    return register_secret(str(value))


def _output(scope: str, stack: str, name: str) -> Any:
    outputs = get_outputs(scope, stack)
    if outputs is None:
        raise KeyError(f"stack {stack} was never applied in {scope}")
    value: Any = outputs
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise KeyError(f"stack {stack} has no output {name}")
        value = value[part]
    return value
