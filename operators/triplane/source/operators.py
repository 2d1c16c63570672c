"""The first task of every run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from triplane import settings
from triplane.core.digest import digest_file
from triplane.core.errors import InputError, TerminalError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.core.history import Version
    from triplane.source.freeze import Frozen


class FreezeOperator(BaseOperator):
    """Freeze the platform's source at a revision, and return ``{source, spec, revision, asked, images,
    tests}``.

    ``source`` and ``spec`` are the digests of the source archive (in the artifact store) and of the
    platform spec in it, ``revision`` is the commit, ``asked`` what it was asked for as. ``images`` are those that
    are not to be built, name -> digest: a rollback goes back to the images that were deployed. ``tests`` are the
    results of those that are not to be run. Fails if that spec is not the one the DAG was built from.

    :param folder: the folder that holds the platform spec
    :param spec_file: the spec's path inside ``folder``
    :param spec: digest of the spec that the DAG was built from
    :param revision: what to deploy, anything git resolves to a commit (templated)
    :param frozen: what another run's task returned, or its JSON: taken instead of ``revision`` if given (templated)
    :param rollback_of: ``<environment>/<cloud>``, or several: go back to what was good there before what is
        there now, instead of ``revision`` (templated)
    :param to: with ``rollback_of``: go back to this version, which must have been good there: a commit, a tag or
        branch, or the run that deployed it (templated)
    :param remote: where the commit is fetched from, instead of ``folder``:
        see :func:`triplane.source.forges.remote` (templated)
    :param skip: true skips this task and with it all planning (templated)
    """

    template_fields: Sequence[str] = ("revision", "frozen", "rollback_of", "to", "remote", "skip")

    def __init__(
        self,
        *,
        folder: str,
        spec_file: str,
        spec: str,
        revision: str = "HEAD",
        frozen: Any = None,
        rollback_of: Any = None,
        to: str = "",
        remote: Mapping[str, Any] | None = None,
        skip: str | bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.spec_file = spec_file
        self.spec = spec
        self.revision = revision
        self.frozen = frozen
        self.rollback_of = rollback_of
        self.to = to
        self.remote = remote
        self.skip = skip

    def execute(self, context: Context) -> dict[str, Any]:
        """Freeze, or check what was frozen before."""
        if str(self.skip) == "True":
            raise AirflowSkipException("applying a change set that was planned before")
        try:
            found = (
                self._given()
                or self._previous()
                or self._freeze(settings.pinned_commit(context, self.folder))
            )
            frozen_spec = digest_file(settings.source_dir(found["source"]) / self.spec_file)
        except (TerminalError, FileNotFoundError) as error:
            raise AirflowFailException(str(error)) from error
        if frozen_spec != self.spec:
            raise AirflowFailException(
                f"{self.spec_file} of revision {found['revision']} ({frozen_spec}) is not the one this DAG was built "
                f"from ({self.spec}); commit that {self.spec_file}, wait until Airflow has parsed it, and start again"
            )
        place = self.remote["repository"] if self.remote else self.folder
        self.log.info("%s at %s: %s", place, found["revision"], found["source"])
        return {**found, "spec": frozen_spec}

    def on_kill(self) -> None:
        """Stop git."""
        from triplane.core.process import stop_all

        stop_all()

    def _given(self) -> dict[str, Any] | None:
        value = json.loads(self.frozen) if isinstance(self.frozen, str) else self.frozen
        if not value:
            return None
        plain = {name: str(value[name]) for name in ("source", "revision", "asked")}
        return {**plain, **{name: value.get(name) or {} for name in ("images", "tests")}}

    def _previous(self) -> dict[str, Any] | None:
        """The good source to go back to, of which every scope that is rolled back must have the same."""
        scopes = self.rollback_of.split() if isinstance(self.rollback_of, str) else self.rollback_of
        if not scopes:
            if self.to:
                raise InputError(
                    f"`to` ({self.to}) belongs to the action rollback; deploy a revision with `revision`"
                )
            return None
        found = {scope: self._version(scope) for scope in scopes}
        versions = {(version.source, version.revision) for version in found.values()}
        if len(versions) > 1:
            each = ", ".join(f"{scope}: {version.revision}" for scope, version in found.items())
            raise InputError(
                f"not all go back to the same revision ({each}); name the one that all shall have with `to`, roll back "
                "each cloud by itself, or deploy a revision"
            )
        return settings.frozen_version(list(found.values()))

    def _version(self, scope: str) -> Version:
        from triplane.core.history import named, previous

        entries = settings.ledger(scope).entries()
        if not self.to:
            return previous(entries, scope)
        try:
            return named(entries, scope, self.to)
        except InputError:
            try:
                resolved = self._commit(self.to)
            except TerminalError:
                resolved = self.to
            if resolved == self.to:
                raise
            return named(entries, scope, resolved)

    def _commit(self, revision: str) -> str:
        from triplane.core.git import commit

        if self.remote is None:
            return commit(Path(self.folder), revision)
        from triplane.source.forges import remote

        return remote(self.remote).commit(revision)

    def _freeze(self, pinned: str | None) -> dict[str, Any]:
        frozen = self._frozen(pinned)
        source = settings.artifact_store().put(frozen.archive)
        known: dict[str, Any] = {"images": {}, "tests": {}}
        return {"source": source, "revision": frozen.revision, "asked": self.revision, **known}

    def _frozen(self, pinned: str | None) -> Frozen:
        from triplane.source.freeze import freeze

        if self.remote is None:
            return freeze(Path(self.folder), self.revision, pinned)
        from triplane.source.forges import remote

        return remote(self.remote).freeze(self.revision)
