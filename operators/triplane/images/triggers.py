"""Waits for a cloud's build service, without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from triplane.core.errors import TransientError, TriplaneError
from triplane.images.builders.native import NativeBuilder, Status

LOST_SECONDS = 300.0


class ImageBuildTrigger(BaseTrigger):
    """Follows a build, with its log, until it ends.

    Its event is ``{"build", "key", "status"}`` or ``{"build", "key", "error"}``, where the service could not be
    asked for five minutes. When a person ends the task, the build is cancelled; a triggerer that stops leaves it
    to the next one.

    :param builder: ``codebuild``, ``cloud_build`` or ``acr_tasks``
    :param service: the options of :func:`triplane.images.services.connect`
    :param build: id of the build
    :param key: what it builds
    :param deadline: Unix time after which it is cancelled
    :param interval: seconds between two looks
    """

    def __init__(
        self,
        *,
        builder: str,
        service: Mapping[str, Any],
        build: str,
        key: str,
        deadline: float,
        interval: float = 5.0,
    ) -> None:
        super().__init__()
        self.builder = builder
        self.service = dict(service)
        self.build = build
        self.key = key
        self.deadline = deadline
        self.interval = interval
        self._position = ""
        self._service: NativeBuilder | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments."""
        names = ("builder", "service", "build", "key", "deadline", "interval")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event, when the build has ended."""
        seen = time.monotonic()
        while True:
            try:
                status = await asyncio.to_thread(self._look)
                seen = time.monotonic()
            except TransientError as error:
                self._service = None
                self.log.warning("%s", error)
                if time.monotonic() - seen > LOST_SECONDS:
                    yield self._event(error=str(error))
                    return
                status = Status("running")
            except TriplaneError as error:
                yield self._event(error=str(error))
                return
            if status.state != "running":
                yield self._event(status=status.to_json())
                return
            await asyncio.sleep(self.interval)

    async def on_kill(self) -> None:
        """A person ended the task: end the build too."""
        await asyncio.to_thread(self.cancel)

    def cancel(self) -> None:
        """End the build."""
        from triplane.images.services import translated

        with translated(self.builder):
            self._connect().cancel(self.build)

    def _look(self) -> Status:
        """How the build stands, after the log has been passed on that there was by then."""
        from triplane import settings
        from triplane.images.services import translated

        redact = settings.redactor()
        with translated(self.builder):
            service = self._connect()
            status = service.status(self.build)
            lines, self._position = service.log(self.build, self._position)
            for line in lines:
                self.log.info("%s", redact(line))
            if status.state == "running" and time.time() > self.deadline:
                service.cancel(self.build)
                return Status("failed", "it was cancelled at the task's time limit")
        return status

    def _connect(self) -> NativeBuilder:
        from triplane.images.services import connect

        if self._service is None:
            self._service = connect(self.builder, self.service)
        return self._service

    def _event(self, **content: Any) -> TriggerEvent:
        return TriggerEvent({"build": self.build, "key": self.key, **content})
