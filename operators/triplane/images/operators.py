"""Build an image once, and push it to any number of registries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import settings
from triplane.core.errors import ToolError, ToolTimeout, TransientError, TriplaneError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.images.builders import Builder
    from triplane.images.reference import Reference
    from triplane.images.registries import Registry

DEFAULT_CONNECTIONS = {"aws": "aws_default", "gcp": "google_cloud_default", "azure": "azure_default"}


class ImageBuildOperator(BaseOperator):
    """Build a container image, unless the artifact store holds one of the same context already.

    The image is kept in the artifact store. Returns ``{"name", "digest", "key"}``: its name, the digest of
    its manifest, and the digest of what it was built from (the files that ``.dockerignore`` leaves, the
    Dockerfile, the arguments). With buildah the same key gives the same digest on every machine.

    :param image: name of the image, without registry (templated)
    :param path: the build context, a folder; inside ``source`` if that is given (templated)
    :param source: digest of a frozen source in the artifact store; None for a local ``path`` (templated)
    :param dockerfile: the Dockerfile's path inside the context (templated)
    :param build_args: values of the Dockerfile's ARGs; they end up in the image, so no secrets (templated)
    :param builder: ``buildah``, or ``docker`` for a Docker Engine
    :param isolation: how buildah keeps RUN steps apart: ``chroot``, ``oci`` or ``rootless``
    :param storage: where buildah keeps its layers between builds; default in the user's cache folder
    :param docker_conn_id: Airflow connection of the Docker Engine
    :param docker_host: URL of the Docker Engine; default ``DOCKER_HOST``, or its local socket
    :param timeout: limit of the build in seconds
    """

    template_fields: Sequence[str] = ("image", "path", "source", "dockerfile", "build_args")
    ui_color = "#cde6f5"

    def __init__(
        self,
        *,
        image: str,
        path: str,
        source: str | None = None,
        dockerfile: str = "Dockerfile",
        build_args: Any = None,
        builder: Literal["buildah", "docker"] = "buildah",
        isolation: str = "chroot",
        storage: str | None = None,
        docker_conn_id: str | None = None,
        docker_host: str | None = None,
        timeout: float = 3600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.path = path
        self.source = source
        self.dockerfile = dockerfile
        self.build_args = build_args or {}
        self.builder = builder
        self.isolation = isolation
        self.storage = storage
        self.docker_conn_id = docker_conn_id
        self.docker_host = docker_host
        self.timeout = timeout
        self.killed = False
        self._running: Builder | None = None

    def execute(self, context: Context) -> dict[str, str]:
        """Build, or find what was built before."""
        from triplane.core.process import private_dir
        from triplane.images.builders import BuildRequest
        from triplane.images.context import build_key, stage
        from triplane.images.layout import find_key

        root = settings.source_dir(self.source) if self.source else Path()
        with _airflow_errors(self), private_dir() as scratch:
            staged = scratch / "context"
            stage(root / self.path, self.dockerfile, staged)
            args = {name: str(value) for name, value in self.build_args.items()}
            key = build_key(staged, self.dockerfile, args)
            digest = find_key(key, settings.artifact_store())
            if digest:
                self.log.info("%s was built before as %s from %s", self.image, digest, key)
            else:
                request = BuildRequest(name=self.image, context=staged, dockerfile=self.dockerfile, args=args)
                digest = self._build(request, scratch / "layout", key)
        return {"name": self.image, "digest": digest, "key": key}

    def on_kill(self) -> None:
        """End the build."""
        self.killed = True
        if self._running:
            self._running.cancel()

    def _build(self, request: Any, layout: Path, key: str) -> str:
        from triplane.images.layout import keep, put_key

        self._running = self._builder()
        if self.killed:
            raise TransientError(f"{self.image}: stopped before the build began")
        redact = settings.redactor()
        self._running.build(
            request, layout, log=lambda line: self.log.info("%s", redact(line)), timeout=self.timeout
        )
        store = settings.artifact_store()
        digest = keep(layout, store)
        put_key(key, digest, store)
        self.log.info("Built %s as %s from %s", self.image, digest, key)
        return digest

    def _builder(self) -> Builder:
        if self.builder == "buildah":
            from triplane.images.builders.buildah import Buildah

            return Buildah(Path(self.storage) if self.storage else _storage(), isolation=self.isolation)
        from airflow.providers.docker.hooks.docker import DockerHook

        from triplane.images.builders.docker import DockerEngine

        host = self.docker_host or os.environ.get("DOCKER_HOST", "unix://var/run/docker.sock")
        return DockerEngine(DockerHook(docker_conn_id=self.docker_conn_id, base_url=host).api_client)


class ImagePushOperator(BaseOperator):
    """Push an image of the artifact store to a registry, and return ``registry/repository@sha256:...``.

    Every registry gets the same bytes and so the same digest. An image that is there already is not pushed
    again; after a push the digest is read back from the registry.

    :param image: name of the image, without registry (templated)
    :param digest: manifest digest of the image, as ``ImageBuildOperator`` returns it (templated)
    :param registry: host of the registry, with the path that comes before the image's name (templated)
    :param cloud: ``aws``, ``gcp`` or ``azure``, to log in with that cloud's connection; None to log in with
        the login and password of ``conn_id``
    :param conn_id: Airflow connection; by default that cloud's default connection, and no login without ``cloud`` (templated)
    :param tag: tag to push to; default is made of the digest (templated)
    :param timeout: limit of the push in seconds
    """

    template_fields: Sequence[str] = ("image", "digest", "registry", "conn_id", "tag")
    ui_color = "#cde6f5"

    def __init__(
        self,
        *,
        image: str,
        digest: str,
        registry: str,
        cloud: str | None = None,
        conn_id: str | None = None,
        tag: str | None = None,
        timeout: float = 1800,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.digest = digest
        self.registry = registry
        self.cloud = cloud
        self.conn_id = conn_id
        self.tag = tag
        self.timeout = timeout
        self.killed = False

    def execute(self, context: Context) -> str:
        """Push unless it is there."""
        from triplane.core.process import private_dir
        from triplane.images.reference import Reference
        from triplane.images.registries import Registry, write_auth

        with _airflow_errors(self), private_dir() as scratch:
            target = Reference.of(self.registry, self.image)
            login = self._login()
            auth = write_auth(scratch / "auth.json", target.registry, *login) if login else None
            registry = Registry(auth, timeout=self.timeout)
            pinned = target.at(self.digest)
            if registry.digest(pinned) == self.digest:
                self.log.info("%s is there already", pinned)
            else:
                self._push(registry, target, scratch / "layout")
        return str(pinned)

    def on_kill(self) -> None:
        """End the push; what was sent so far is taken up by the next one."""
        from triplane.core.process import stop_all

        self.killed = True
        stop_all()

    def _push(self, registry: Registry, target: Reference, layout: Path) -> None:
        from triplane.images.layout import restore
        from triplane.images.registries import ensure_ecr_repository

        restore(self.digest, settings.artifact_store(), layout)
        if self.cloud == "aws":
            from triplane.clouds import aws

            client = aws.client("ecr", self._conn_id(), target.registry.split(".")[3])
            ensure_ecr_repository(client, target.repository, self.log.info)
        tagged = target.tagged(self.tag or f"sha256-{self.digest.removeprefix('sha256:')[:16]}")
        registry.push(layout, tagged, self.log.info)
        self.log.info("Pushed %s as %s", tagged, self.digest)

    def _login(self) -> tuple[str, str] | None:
        if self.cloud:
            from triplane.clouds import registry_login

            return registry_login(self.cloud, self._conn_id(), self.registry)
        if not self.conn_id:
            return None
        from airflow.sdk import BaseHook

        connection = BaseHook.get_connection(self.conn_id)
        return connection.login or "", settings.register_secret(connection.password or "")

    def _conn_id(self) -> str:
        return self.conn_id or DEFAULT_CONNECTIONS[self.cloud or ""]


@contextmanager
def _airflow_errors(operator: ImageBuildOperator | ImagePushOperator) -> Iterator[None]:
    """Our errors as Airflow's: some are worth a retry, some are not."""
    try:
        yield
    except TriplaneError as error:
        if operator.killed:
            raise AirflowException(f"stopped from outside: {error}") from error
        raise _airflow_error(error) from error


def _airflow_error(error: TriplaneError) -> AirflowException:
    from triplane.images.registries import is_transient

    passing = isinstance(error, (ToolTimeout, TransientError))
    passing = passing or (isinstance(error, ToolError) and is_transient(error))
    return AirflowException(str(error)) if passing else AirflowFailException(str(error))


def _storage() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "triplane" / "containers"
