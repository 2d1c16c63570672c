"""Builds with a Docker Engine, through its API.

The Engine stamps its images with the time of the build. So a second build of the same context has
another digest: it is the artifact store, asked first, that keeps an image the same.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from triplane.core.errors import InputError, ToolError, ToolTimeout, TransientError, TriplaneError
from triplane.core.process import Command, private_dir, run, stop_all, tool_env
from triplane.images.builders import BuildRequest, Log


class DockerEngine:
    """``client`` is a low-level ``docker.APIClient``, used for one build at a time."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._stop: Callable[[], None] = client.close

    def build(self, request: BuildRequest, layout: Path, *, log: Log, timeout: float | None = None) -> None:
        """Build in the Engine, then fetch the image and write it as an OCI layout; the Engine does not keep it."""
        if len(request.platforms) > 1:
            raise InputError(
                f"{request.name}: the Docker Engine's API builds for one platform, not for "
                f"{', '.join(request.platforms)}; set `builder: buildah`"
            )
        if request.auth_file:
            add_logins(self.client, request.auth_file)
        with _deadline(timeout, self.cancel):
            image_id = read_build(self._events(request), log)
        with private_dir() as scratch:
            archive = scratch / "image.tar"
            with archive.open("wb") as file:
                for chunk in self.client.get_image(image_id):
                    file.write(chunk)
            self._forget(image_id, log)
            convert = Command(argv=convert_args(archive, layout), env=tool_env())
            run(convert, on_line=log, timeout=timeout)

    def cancel(self) -> None:
        """End a running build: the Engine gives up when nobody reads its stream any more."""
        self._stop()
        stop_all()

    def _forget(self, image_id: str, log: Log) -> None:
        """Remove an image that was exported; one that something else uses stays."""
        from docker.errors import APIError

        try:
            self.client.remove_image(image_id)
        except APIError as error:
            if error.status_code not in (404, 409):
                log(f"{image_id} stays in the Docker Engine: {error}")

    def _events(self, request: BuildRequest) -> Iterable[Mapping[str, Any]]:
        from docker.types import CancellableStream

        responses: list[Any] = []

        def remember(response: Any, *args: Any, **kwargs: Any) -> None:
            responses.append(response)

        hooks = self.client.hooks["response"]
        hooks.append(remember)
        try:
            events = self.client.build(
                path=str(request.context),
                dockerfile=request.dockerfile,
                buildargs=dict(request.args),
                platform=request.platforms[0] if request.platforms else None,
                rm=True,
                forcerm=True,
                decode=True,
            )
        finally:
            hooks.remove(remember)
        stream: Any = CancellableStream(events, responses[-1])
        self._stop = stream.close
        return stream  # type: ignore[no-any-return]


def add_logins(client: Any, auth_file: Path) -> None:
    """Have ``client`` send the logins of an auth file with its builds, beside those that it has."""
    from docker.auth import AuthConfig

    written = json.loads(auth_file.read_text()).get("auths", {})
    for registry, login in AuthConfig.parse_auth(written).items():
        client._auth_configs.add_auth(registry, login)  # there is no public way to add a login unchecked


@contextmanager
def _deadline(timeout: float | None, cancel: Callable[[], None]) -> Iterator[None]:
    """Cancels when the time is up, which is then raised as ``ToolTimeout``."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        cancel()

    timer = threading.Timer(timeout or threading.TIMEOUT_MAX, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except TriplaneError as error:
        if expired.is_set():
            raise ToolTimeout(("docker", "build"), 1, str(error), timeout or 0) from error
        raise
    finally:
        timer.cancel()


def convert_args(archive: Path, layout: Path) -> tuple[str, ...]:
    """Turns what the Engine exports into an OCI layout."""
    return ("skopeo", "copy", "--format", "oci", f"docker-archive:{archive}", f"oci:{layout}")


def read_build(events: Iterable[Mapping[str, Any]], log: Log) -> str:
    """Log the Engine's build stream and return the image id; an error in it is raised as ``ToolError``."""
    image_id = ""
    for event in events:
        if error := event.get("error"):
            raise ToolError(("docker", "build"), int(event.get("errorDetail", {}).get("code", 1)), str(error))
        for line in str(event.get("stream", event.get("status", ""))).splitlines():
            if line.strip():
                log(line.rstrip())
        image_id = (event.get("aux") or {}).get("ID", image_id)
    if not image_id:
        raise TransientError("the Docker Engine ended the build without an image; try again")
    return image_id
