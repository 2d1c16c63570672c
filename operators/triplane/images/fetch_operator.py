"""The operator for images that others have built: taken by their digest, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from triplane import settings
from triplane.images.operators import airflow_errors, open_registry

if TYPE_CHECKING:
    from airflow.sdk import Context


class ImageFetchOperator(BaseOperator):
    """Copy an image that is not built here into the artifact store, by its digest; from there it goes where built ones go.

    Returns ``{"name", "digest", "key"}``. Every blob is hashed again, so what is kept is what the digest says. A
    tag in ``reference`` is for people: where it names another image by now, the log says so.

    :param image: name of the image at ours, without registry (templated)
    :param reference: where it is: ``registry/repository[:tag]`` (templated)
    :param digest: its manifest digest (templated)
    :param logins: registry host -> ``{"cloud", "conn_id"}``; others are read with the worker's own logins
    :param timeout: limit in seconds
    :param skip: true skips this task and those that need the image (templated)
    """

    template_fields: Sequence[str] = ("image", "reference", "digest", "skip")
    ui_color = "#cde6f5"

    def __init__(
        self,
        *,
        image: str,
        reference: str,
        digest: str,
        logins: Mapping[str, Mapping[str, str]] | None = None,
        timeout: float = 1800,
        skip: str | bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.reference = reference
        self.digest = digest
        self.logins = logins or {}
        self.timeout = timeout
        self.skip = skip
        self.killed = False

    def execute(self, context: Context) -> dict[str, str]:
        """Fetch unless the store holds it."""
        if str(self.skip) == "True":
            raise AirflowSkipException("no image is needed")
        from triplane.core.process import private_dir
        from triplane.images.layout import complete

        with airflow_errors(self), private_dir() as scratch:
            if complete(self.digest, settings.artifact_store()):
                self.log.info("%s is in the store already as %s", self.image, self.digest)
            else:
                self._fetch(scratch)
        return {"name": self.image, "digest": self.digest, "key": ""}

    def on_kill(self) -> None:
        """End the copy."""
        from triplane.core.process import stop_all

        self.killed = True
        stop_all()

    def _fetch(self, scratch: Any) -> None:
        from triplane.core.errors import InputError, RefusedError
        from triplane.images.layout import keep
        from triplane.images.reference import Reference
        from triplane.images.registries import Registry

        written = Reference.parse(self.reference)
        login = self.logins.get(written.registry)
        registry = (
            open_registry(scratch, written.registry, **login, timeout=self.timeout)  # type: ignore[arg-type]
            if login
            else Registry(None, worker=True, timeout=self.timeout)
        )
        pinned = written.at(self.digest)
        if registry.digest(pinned) != self.digest:
            raise InputError(f"{written.name} has no image {self.digest}; correct `digest` of {self.image}")
        if written.tag and (now := registry.digest(written)) != self.digest:
            self.log.warning("%s is %s by now; %s stays as it is pinned", written, now, self.image)
        registry.fetch(pinned, scratch / "layout", self.log.info)
        found = keep(scratch / "layout", settings.artifact_store())
        if found != self.digest:
            raise RefusedError(f"{pinned} came as {found}; do not trust that registry")
        self.log.info("Fetched %s as %s", pinned, self.image)
