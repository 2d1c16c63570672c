"""The first task of every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from triplane import settings
from triplane.core.digest import digest_file
from triplane.core.errors import TerminalError

if TYPE_CHECKING:
    from airflow.sdk import Context


class FreezeOperator(BaseOperator):
    """Freeze the platform's source at a revision, and return ``{source, spec, revision}``.

    ``source`` and ``spec`` are the digests of the source archive (in the artifact store) and of the
    platform spec in it. Fails if that spec is not the one the DAG was built from.

    :param folder: the folder that holds the platform spec
    :param spec_file: the spec's path inside ``folder``
    :param spec: digest of the spec that the DAG was built from
    :param revision: what to deploy, anything git resolves to a commit (templated)
    :param source: a source that was frozen before, taken instead of ``revision`` if given (templated)
    :param source_revision: the revision of ``source`` (templated)
    :param skip: true skips this task and with it all planning (templated)
    """

    template_fields: Sequence[str] = ("revision", "source", "source_revision", "skip")

    def __init__(
        self,
        *,
        folder: str,
        spec_file: str,
        spec: str,
        revision: str = "HEAD",
        source: str | None = None,
        source_revision: str | None = None,
        skip: str | bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.spec_file = spec_file
        self.spec = spec
        self.revision = revision
        self.source = source
        self.source_revision = source_revision
        self.skip = skip

    def execute(self, context: Context) -> dict[str, str]:
        """Freeze, or check what was frozen before."""
        if str(self.skip) == "True":
            raise AirflowSkipException("applying a change set that was planned before")
        try:
            source, revision = self._freeze()
            frozen_spec = digest_file(settings.source_dir(source) / self.spec_file)
        except (TerminalError, FileNotFoundError) as error:
            raise AirflowFailException(str(error)) from error
        if frozen_spec != self.spec:
            raise AirflowFailException(
                f"{self.spec_file} of revision {revision} ({frozen_spec}) is not the one this DAG was built from "
                f"({self.spec}); commit the spec, or wait until Airflow has parsed it, and start again"
            )
        self.log.info("Frozen %s at %s: %s", self.folder, revision, source)
        return {"source": source, "spec": frozen_spec, "revision": revision}

    def _freeze(self) -> tuple[str, str]:
        from triplane.source.freeze import freeze

        if self.source:
            return self.source, self.source_revision or "unknown"
        frozen = freeze(Path(self.folder), self.revision)
        return settings.artifact_store().put(frozen.archive), frozen.revision
