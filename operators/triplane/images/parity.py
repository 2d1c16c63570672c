"""The operator that compares what the registries serve, before anything is deployed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from triplane.images.operators import airflow_errors, open_registry

if TYPE_CHECKING:
    from airflow.sdk import Context


class RegistryParityOperator(BaseOperator):
    """Fail unless every registry serves the same manifest digest of every image that it should have.

    Returns image -> digest. The bytes that the registries serve are counted again; their word is not taken.

    :param digests: image name, without registry -> manifest digest (templated)
    :param registries: cloud -> ``{"registry", "conn_id", "images"}``: where it keeps which images
    :param skip: true skips this task (templated)
    """

    template_fields: Sequence[str] = ("digests", "skip")
    ui_color = "#cde6f5"

    def __init__(
        self,
        *,
        digests: Any,
        registries: Mapping[str, Mapping[str, Any]],
        skip: str | bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.digests = digests
        self.registries = registries
        self.skip = skip
        self.killed = False

    def execute(self, context: Context) -> dict[str, str]:
        """Ask the registries side by side, then compare."""
        from concurrent.futures import ThreadPoolExecutor

        from triplane.core.errors import RefusedError
        from triplane.core.process import private_dir

        if str(self.skip) == "True":
            raise AirflowSkipException("nothing is deployed")
        with airflow_errors(self), private_dir() as scratch:
            with ThreadPoolExecutor(len(self.registries)) as pool:
                served = dict(
                    zip(
                        self.registries,
                        pool.map(lambda cloud: self._served(cloud, scratch), self.registries),
                        strict=True,
                    )
                )
            for cloud, digests in served.items():
                for image, digest in digests.items():
                    self.log.info("%s: %s is %s", cloud, image, digest)
            if differing := different(self.digests, served):
                raise RefusedError(
                    f"the registries do not serve what was built: {'; '.join(differing)}. Nothing was applied; "
                    "clear the push of that cloud, and see who else writes to its registry"
                )
        return dict(self.digests)

    def on_kill(self) -> None:
        """Stop asking."""
        from triplane.core.process import stop_all

        self.killed = True
        stop_all()

    def _served(self, cloud: str, scratch: Any) -> dict[str, str | None]:
        from triplane.images.reference import Reference

        part = self.registries[cloud]
        targets = {image: Reference.of(part["registry"], image) for image in part["images"]}
        host = next(iter(targets.values())).registry
        registry = open_registry(scratch, host, cloud=cloud, conn_id=part["conn_id"])
        return {image: registry.digest(target.at(self.digests[image])) for image, target in targets.items()}


def different(expected: Mapping[str, str], served: Mapping[str, Mapping[str, str | None]]) -> tuple[str, ...]:
    """What is not as expected, one text for each image in each cloud."""
    return tuple(
        f"{cloud} has {image} {'as ' + digest if digest else 'not at all'}, not as {expected[image]}"
        for cloud, digests in served.items()
        for image, digest in digests.items()
        if digest != expected[image]
    )
