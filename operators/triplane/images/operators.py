"""Build an image once, and push it to any number of registries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from triplane import settings
from triplane.core.errors import ToolError, ToolTimeout, TransientError, TriplaneError
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.images.builders import Builder
    from triplane.images.reference import Reference
    from triplane.images.registries import Registry


class ImageBuildOperator(BaseOperator):
    """Build a container image, unless the artifact store holds one of the same context already.

    The image is kept in the artifact store. Returns ``{"name", "digest", "key"}``: its name, the digest of
    its manifest, and the digest of what it was built from (the files that ``.dockerignore`` leaves, the
    Dockerfile, the arguments, the digests of the base images). With buildah the same key and the same labels give
    the same digest on every machine.

    :param image: name of the image, without registry (templated)
    :param path: the build context, a folder; inside ``source`` if that is given (templated)
    :param source: digest of a frozen source in the artifact store; None for a local ``path`` (templated)
    :param dockerfile: the Dockerfile's path inside the context (templated)
    :param known: image name -> digest of images that are there already: taken instead of a build (templated)
    :param labels: labels of the image; no part of its key (templated)
    :param folder: the folder that ``source`` was frozen from: if it is in git, the image gets labels that say
        where it comes from
    :param revision: the commit that ``source`` is (templated)
    :param logins: registry host -> ``{"cloud", "conn_id"}``, for base images there; others are read with the
        worker's own logins
    :param build_args: values of the Dockerfile's ARGs; they end up in the image, so no secrets (templated)
    :param builder: ``buildah``, ``docker`` for a Docker Engine, or ``auto`` for the first of them that this worker has
    :param platforms: such as ``linux/arm64``; empty is the builder's own, several make an image index
    :param isolation: how buildah keeps RUN steps apart: ``chroot``, ``oci`` or ``rootless``
    :param storage: where buildah keeps its layers between builds; default in the user's cache folder
    :param docker_conn_id: Airflow connection of the Docker Engine
    :param docker_host: URL of the Docker Engine; default ``DOCKER_HOST``, or its local socket
    :param timeout: limit of the build in seconds
    :param skip: true skips this task and those that need the image (templated)
    """

    template_fields: Sequence[str] = (
        *("image", "path", "source", "dockerfile", "build_args", "skip", "known", "labels", "revision"),
    )
    ui_color = "#cde6f5"

    def __init__(
        self,
        *,
        image: str,
        path: str,
        source: str | None = None,
        dockerfile: str = "Dockerfile",
        build_args: Any = None,
        known: Any = None,
        labels: Any = None,
        folder: str | None = None,
        revision: str | None = None,
        logins: Mapping[str, Mapping[str, str]] | None = None,
        builder: str = "auto",
        platforms: Sequence[str] = (),
        isolation: str = "chroot",
        storage: str | None = None,
        docker_conn_id: str | None = None,
        docker_host: str | None = None,
        timeout: float = 3600,
        skip: str | bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.skip = skip
        self.image = image
        self.path = path
        self.source = source
        self.dockerfile = dockerfile
        self.build_args = build_args or {}
        self.known = known
        self.labels = labels
        self.folder = folder
        self.revision = revision
        self.logins = logins or {}
        self.builder = builder
        self.platforms = tuple(platforms)
        self.isolation = isolation
        self.storage = storage
        self.docker_conn_id = docker_conn_id
        self.docker_host = docker_host
        self.timeout = timeout
        self.killed = False
        self._running: Builder | None = None

    def execute(self, context: Context) -> dict[str, str]:
        """Build, or find what was built before."""
        if str(self.skip) == "True":
            raise AirflowSkipException("no image is needed")
        from triplane.core.process import private_dir
        from triplane.images.builders import BuildRequest
        from triplane.images.context import build_key, rewrite, stage
        from triplane.images.layout import find_key

        root = settings.source_dir(self.source) if self.source else Path()
        with airflow_errors(self), private_dir() as scratch:
            if found := self._known():
                return {"name": self.image, "digest": found, "key": ""}
            staged = scratch / "context"
            stage(root / self.path, self.dockerfile, staged)
            args = {name: str(value) for name, value in self.build_args.items()}
            auth_file = self._pin(staged / self.dockerfile, args, scratch)
            key = build_key(staged, self.dockerfile, args, self.platforms)
            digest = find_key(key, settings.artifact_store())
            if digest:
                self.log.info("%s was built before as %s from %s", self.image, digest, key)
            else:
                rewrite(staged / self.dockerfile, self._labelled)
                request = BuildRequest(
                    name=self.image,
                    context=staged,
                    dockerfile=self.dockerfile,
                    args=args,
                    auth_file=auth_file,
                    platforms=self.platforms,
                )
                digest = self._build(request, scratch / "layout", key)
        return {"name": self.image, "digest": digest, "key": key}

    def on_kill(self) -> None:
        """End the build."""
        self.killed = True
        if self._running:
            self._running.cancel()

    def _known(self) -> str | None:
        """The image that another run has built, or that was deployed before, as long as the store holds it."""
        from triplane.images.layout import complete

        digest = (self.known or {}).get(self.image)
        if not digest or not complete(digest, settings.artifact_store()):
            return None
        self.log.info("%s is %s, as it was before", self.image, digest)
        return str(digest)

    def _pin(self, dockerfile: Path, args: Mapping[str, str], scratch: Path) -> Path | None:
        """Write the digests of the base images into the Dockerfile; returns the login for them."""
        from triplane.images.base import Digests, bases, pin
        from triplane.images.context import rewrite
        from triplane.images.login import write_logins
        from triplane.images.registries import Registry

        text = dockerfile.read_text()
        found = bases(text, args)
        for base in found:
            if base.reference is None:
                self.log.warning("%s has no value here: its digest is no part of the key", base.written)
        hosts = {base.reference.registry for base in found if base.reference}
        logins = {
            host: _cloud_login(login["cloud"], login["conn_id"], host)
            for host, login in self.logins.items()
            if host in hosts
        }
        auth = write_logins(scratch / "auth.json", logins) if logins else None
        digests = Digests(Registry(auth, worker=not logins), settings.artifact_store(), self.log.info)
        rewrite(dockerfile, lambda text: pin(text, args, digests))
        return auth

    def _labelled(self, dockerfile: str) -> str:
        from triplane.core.errors import InputError
        from triplane.images.base import with_labels
        from triplane.images.labels import provenance

        found: dict[str, str] = {}
        if self.folder and self.revision:
            try:
                found = provenance(Path(self.folder), self.path, self.revision)
            except InputError as error:
                self.log.warning("%s gets no labels that say where it comes from: %s", self.image, error)
        labels = found | {name: str(value) for name, value in (self.labels or {}).items()}
        return with_labels(dockerfile, labels) if labels else dockerfile

    def _build(self, request: Any, layout: Path, key: str) -> str:
        from triplane.images.layout import keep, put_key
        from triplane.images.sbom import make

        self._running = self._builder(key)
        if self.killed:
            raise TransientError(f"{self.image}: stopped before the build began")
        redact = settings.redactor()
        self._running.build(
            request, layout, log=lambda line: self.log.info("%s", redact(line)), timeout=self.timeout
        )
        store = settings.artifact_store()
        digest = keep(layout, store)
        make(layout, digest, store, self.log.info)
        put_key(key, digest, store)
        self.log.info("Built %s as %s from %s", self.image, digest, key)
        return digest

    def _builder(self, key: str) -> Builder:
        from triplane.images.builders import choose

        host = self.docker_host or os.environ.get("DOCKER_HOST", "unix://var/run/docker.sock")
        if choose(self.builder, host) == "buildah":
            from triplane.core.jobs import job
            from triplane.images.builders.buildah import Buildah

            storage = Path(self.storage) if self.storage else layer_storage()
            if self.platforms:
                storage = storage / "platforms"  # whose images must not serve as cached layers elsewhere
            return Buildah(storage, isolation=self.isolation, job=job(["buildah", key, str(storage)]))
        from airflow.providers.docker.hooks.docker import DockerHook

        from triplane.images.builders.docker import DockerEngine

        return DockerEngine(DockerHook(docker_conn_id=self.docker_conn_id, base_url=host).api_client)


class ImagePushOperator(BaseOperator):
    """Push an image of the artifact store to a registry, and return ``registry/repository@sha256:...``.

    Every registry gets the same bytes and so the same digest. An image that is there already is not pushed
    again; it goes there by its digest, which is read back, and gets its tag last.

    :param image: name of the image, without registry (templated)
    :param digest: manifest digest of the image, as ``ImageBuildOperator`` returns it (templated)
    :param registry: host of the registry, with the path that comes before the image's name (templated)
    :param cloud: ``aws``, ``gcp`` or ``azure``, to log in with that cloud's connection; None to log in with
        the login and password of ``conn_id``
    :param conn_id: Airflow connection; by default that cloud's default connection, and no login without ``cloud`` (templated)
    :param tag: tag to push to; default is made of the digest (templated)
    :param create: how to create the repository if it is not there: ``{"immutable_tags", "scan_on_push"}``; None
        leaves that to others. Azure makes repositories by itself
    :param signing: how to sign the image with cosign: ``{"key", "password", "transparency_log"}``, see
        :class:`triplane.images.signing.Key`. Secrets are references: ``${variable.<Airflow Variable>}`` or
        ``${connection.<connection id>}``. None does not sign
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
        create: Mapping[str, Any] | None = None,
        signing: Mapping[str, Any] | None = None,
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
        self.create = create
        self.signing = signing
        self.timeout = timeout
        self.killed = False

    def execute(self, context: Context) -> str:
        """Push unless it is there."""
        from triplane.core.process import private_dir
        from triplane.images.reference import Reference

        with airflow_errors(self), private_dir() as scratch:
            target = Reference.of(self.registry, self.image)
            tagged = target.tagged(self.tag or f"sha256-{self.digest.removeprefix('sha256:')[:16]}")
            registry = open_registry(
                scratch, target.registry, cloud=self.cloud, conn_id=self.conn_id, timeout=self.timeout
            )
            if registry.digest(tagged) == self.digest:
                self.log.info("%s is there already", target.at(self.digest))
            else:
                self._push(registry, tagged, scratch / "layout")
            self._attach(registry, target, scratch / "sbom")
            if self.signing is not None:
                self._sign(registry, target.at(self.digest), scratch)
        return str(target.at(self.digest))

    def on_kill(self) -> None:
        """End the push; what was sent so far is taken up by the next one."""
        from triplane.core.process import stop_all

        self.killed = True
        stop_all()

    def _push(self, registry: Registry, tagged: Reference, layout: Path) -> None:
        from triplane.core.jobs import job
        from triplane.images.layout import restore
        from triplane.images.repositories import ensure

        restore(self.digest, settings.artifact_store(), layout)
        if self.create is not None:
            ensure(self.cloud, _conn_id(self.cloud, self.conn_id), tagged, self.create, self.log.info)
        registry.push(layout, tagged, self.log.info, job(["push", tagged.name, self.digest]))
        self.log.info("Pushed %s as %s", tagged, self.digest)

    def _attach(self, registry: Registry, target: Reference, layout: Path) -> None:
        """Push what is known of the image's content as its referrer; under no tag."""
        from triplane.images import sbom

        blobs = sbom.referrer(self.digest, settings.artifact_store())
        if blobs is None:
            return
        pinned = target.at(next(iter(blobs)))
        if registry.digest(pinned) is None:
            sbom.write(blobs, layout)
            registry.push_untagged(layout, pinned, self.log.info)
            self.log.info("Attached the SBOM %s to %s", pinned, self.digest)

    def _sign(self, registry: Registry, pinned: Reference, scratch: Path) -> None:
        from triplane.core.references import resolve
        from triplane.images.signing import Key, Signer

        key = Key(**resolve(self.signing, lookup_in("")))
        signer = Signer(key, registry.auth_file(), scratch, redact=settings.redactor())
        signed = signer.sign(pinned)
        self.log.info("Signed %s" if signed else "%s is signed already", pinned)


def open_registry(
    scratch: Path, host: str, *, cloud: str | None, conn_id: str | None, timeout: float = 600
) -> Registry:
    """The registry at ``host``: as ``cloud`` knows us, or as ``conn_id`` says, or as nobody. Its login is in ``scratch``."""
    from triplane.images.login import LIFETIMES, Login
    from triplane.images.registries import Registry

    if not cloud and not conn_id:
        return Registry(None, timeout=timeout)
    login = Login(
        scratch / f"{cloud or 'login'}.json",
        host,
        lambda: _cloud_login(cloud, conn_id, host) if cloud else _plain_login(conn_id or ""),
        lifetime=LIFETIMES.get(cloud or ""),
    )
    return Registry(login, timeout=timeout)


def _cloud_login(cloud: str, conn_id: str | None, host: str) -> tuple[str, str]:
    from triplane.clouds import registry_login

    return registry_login(cloud, _conn_id(cloud, conn_id), host)


def _plain_login(conn_id: str) -> tuple[str, str]:
    from airflow.sdk import BaseHook

    connection = BaseHook.get_connection(conn_id)
    return connection.login or "", settings.register_secret(connection.password or "")


def _conn_id(cloud: str | None, conn_id: str | None) -> str:
    from triplane.clouds import DEFAULT_CONNECTIONS

    return conn_id or DEFAULT_CONNECTIONS[cloud or ""]


@contextmanager
def airflow_errors(operator: Any) -> Iterator[None]:
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


def layer_storage() -> Path:
    """Where buildah keeps its layers, unless it is told otherwise."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "triplane" / "containers"
