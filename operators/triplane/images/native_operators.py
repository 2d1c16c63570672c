"""Builds images with a cloud's own build service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowException

from triplane import settings
from triplane.images.links import BUILD_URL, BuildLink
from triplane.images.operators import ImageBuildOperator, airflow_errors, open_registry

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.images.reference import Reference
    from triplane.images.triggers import ImageBuildTrigger


class NativeImageBuildOperator(ImageBuildOperator):
    """Build a container image with a cloud's build service, unless the artifact store holds it already.

    Starts the build and waits for it in the triggerer. The image that the service pushed is then taken into the
    artifact store as it is, so that every cloud gets the same digest. A retry finds the build that an earlier
    try started. Returns the same as :class:`ImageBuildOperator`.

    :param builder: ``codebuild``, ``cloud_build`` or ``acr_tasks``
    :param service: the service's own options, see :func:`triplane.images.services.connect` (templated)
    :param deferrable: false waits in the worker
    :param interval: seconds between two looks at the build
    """

    template_fields: Sequence[str] = (*ImageBuildOperator.template_fields, "service")
    operator_extra_links: Sequence[BaseOperatorLink] = (BuildLink(),)

    def __init__(
        self,
        *,
        builder: str,
        service: Mapping[str, Any],
        deferrable: bool = True,
        interval: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(builder=builder, **kwargs)
        self.service = service
        self.deferrable = deferrable
        self.interval = interval
        self._context: Context | None = None
        self._waiting: ImageBuildTrigger | None = None

    def execute(self, context: Context) -> dict[str, str]:
        """Start the build, or find the image or a build of it."""
        self._context = context
        return super().execute(context)

    def finish(self, context: Context, event: Mapping[str, Any]) -> dict[str, str]:
        """Take over what the service built."""
        with airflow_errors(self):
            digest = self._take_over(event)
        return {"name": self.image, "digest": digest, "key": event["key"]}

    def on_kill(self) -> None:
        """End the build, if this task waits for it here. While it is deferred, its trigger does so."""
        super().on_kill()
        if self._waiting:
            self._waiting.cancel()

    def _build(self, request: Any, layout: Path, key: str) -> str:
        from triplane.core.errors import TransientError
        from triplane.images.triggers import ImageBuildTrigger

        build = self._begin(request, key)
        self._waiting = ImageBuildTrigger(
            builder=self.builder,
            service=self.service,
            build=build,
            key=key,
            deadline=time.time() + self.timeout,
            interval=self.interval,
        )
        if self.killed:
            self._waiting.cancel()
            raise TransientError(f"{self.image}: stopped before the build began")
        if self.deferrable:
            self.defer(trigger=self._waiting, method_name="finish")
        return self._take_over(asyncio.run(_event(self._waiting)))

    def _begin(self, request: Any, key: str) -> str:
        from triplane.images.services import Begun, connect, translated

        begun = Begun(self.builder, key)
        with translated(self.builder):
            service, target = connect(self.builder, self.service), self._target(key)
            build = begun.find(service, target)
            if build:
                self.log.info("%s is built by %s already, as %s", self.image, self.builder, build)
            else:
                self._prepare(target)
                target = self._untaken(target)
                build = begun.start(service, request, target, self.timeout)
                self.log.info("%s builds %s as %s", self.builder, target, build)
            link = service.link(build)
        self.log.info("Its log: %s", link)
        if self._context and "ti" in self._context:
            self._context["ti"].xcom_push(key=BUILD_URL, value=link)
        return build

    def _prepare(self, target: Reference) -> None:
        """Make the repository that the service will push to, if it may be made."""
        from triplane.images.repositories import ensure
        from triplane.images.services import CLOUD_OF, conn_id

        if (create := self.service.get("create")) is not None:
            connection = conn_id(self.builder, self.service)
            ensure(CLOUD_OF[self.builder], connection, target, create, self.log.info)

    def _untaken(self, target: Reference) -> Reference:
        """The tag to push to: the store may have lost an image of this key that the registry still has."""
        from triplane.core.process import private_dir
        from triplane.images.builders.native import untaken
        from triplane.images.services import CLOUD_OF, conn_id

        cloud, connection = CLOUD_OF[self.builder], conn_id(self.builder, self.service)
        with private_dir() as scratch:
            registry = open_registry(scratch, target.registry, cloud=cloud, conn_id=connection)
            return untaken(target, registry.digest)

    def _take_over(self, event: Mapping[str, Any]) -> str:
        from triplane.core.errors import TransientError
        from triplane.images.builders.native import Status

        if error := event.get("error"):
            raise TransientError(f"{self.image}: {error}; a retry goes on waiting for build {event['build']}")
        status = Status(**event["status"])
        if self.killed:
            raise AirflowException(f"stopped from outside: build {event['build']} {status.reason}")
        if status.state != "succeeded" or not status.digest:
            raise AirflowException(
                f"{self.image}: build {event['build']} of {self.builder} failed: {status.reason or 'see its log'}"
            )
        return self._keep(status.digest, event["key"])

    def _keep(self, digest: str, key: str) -> str:
        from triplane.clouds import registry_login
        from triplane.core.process import private_dir
        from triplane.images import layout
        from triplane.images.fetch import fetch
        from triplane.images.login import write_logins
        from triplane.images.sbom import make
        from triplane.images.services import CLOUD_OF, conn_id

        pinned, store = self._target(key).at(digest), settings.artifact_store()
        with private_dir() as scratch:
            login = registry_login(CLOUD_OF[self.builder], conn_id(self.builder, self.service), pinned.name)
            auth = write_logins(scratch / "auth.json", {pinned.registry: login})
            fetch(pinned, auth, scratch, scratch / "layout", self.log.info)
            layout.keep(scratch / "layout", store)
            make(scratch / "layout", digest, store, self.log.info)
        layout.put_key(key, digest, store)
        self.log.info("Built %s as %s from %s", self.image, digest, key)
        return digest

    def _target(self, key: str) -> Reference:
        from triplane.images.services import target

        return target(self.image, key, self.service)


async def _event(trigger: ImageBuildTrigger) -> Mapping[str, Any]:
    async for event in trigger.run():
        payload: Mapping[str, Any] = event.payload
        return payload
    raise AssertionError("the trigger ended without an event")
