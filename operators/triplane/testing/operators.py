"""Run the platform's tests before anything is deployed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from triplane import sealing, settings
from triplane.core.errors import InputError, TerminalError, ToolTimeout, TriplaneError
from triplane.core.references import resolve
from triplane.secrets.references import lookup_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from triplane.testing.runner import Request, Runner


class TestOperator(BaseOperator):
    """Run commands in the source or in an image; fails unless they end well and their report shows no failure.

    Returns ``{"name", "source", "image", "summary", "text", "seconds", "seal"}``, which goes into the change set;
    None where it is not to run. Also pushed as the XCom ``result`` where tests failed.

    :param name: name of the tests
    :param commands: lines of a shell script, which ends at the first that fails
    :param source: digest of the frozen source (templated)
    :param path: the folder inside ``source`` to run in; a copy of it (templated)
    :param image: manifest digest of an image in the artifact store, to run in that instead (templated)
    :param runner: for an image: ``buildah``, ``docker`` or ``kubernetes``
    :param report: JUnit XML that the commands write: relative to where they run, a glob in the source
    :param environment: variables of the commands; secrets as references (templated)
    :param reference: for ``kubernetes``: the image in a registry, with its digest (templated)
    :param cluster: for ``kubernetes``: ``{"cloud", "conn_id", "cluster", ...}`` (templated)
    :param namespace: for ``kubernetes``: where the pod runs
    :param options: more arguments for the provider's operator: ``docker_url``, ``service_account_name``, ...
    :param scope: ``<environment>/<cloud>`` whose stack outputs ``cluster`` may refer to (templated)
    :param known: name -> what this task returned in another run of the same source: taken instead (templated)
    :param storage: where buildah keeps its layers; default in the user's cache folder
    :param isolation: how buildah keeps commands apart: ``chroot``, ``oci`` or ``rootless``
    :param timeout: limit in seconds
    :param skip: true if the tests are not to run (templated)
    """

    __test__ = False  # not pytest's
    template_fields: Sequence[str] = (
        *("source", "path", "image", "environment", "reference", "cluster", "scope", "known", "skip"),
    )
    ui_color = "#e2f0d9"

    def __init__(
        self,
        *,
        name: str,
        commands: Sequence[str],
        source: str | None = None,
        path: str = ".",
        image: str | None = None,
        runner: Literal["buildah", "docker", "kubernetes"] = "buildah",
        report: str | None = None,
        environment: Any = None,
        reference: str | None = None,
        cluster: Any = None,
        namespace: str = "default",
        options: Mapping[str, Any] | None = None,
        scope: str = "",
        known: Any = None,
        storage: str | None = None,
        isolation: str = "chroot",
        timeout: float = 600,
        skip: str | bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.commands = commands
        self.source = source
        self.path = path
        self.image = image
        self.runner = runner
        self.report = report
        self.environment = environment or {}
        self.reference = reference
        self.cluster = cluster
        self.namespace = namespace
        self.options = options or {}
        self.scope = scope
        self.known = known
        self.storage = storage
        self.isolation = isolation
        self.timeout = timeout
        self.skip = skip
        self.killed = False
        self._running: Runner | None = None

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Run the tests, or take what another run found."""
        from triplane.core.process import private_dir

        if str(self.skip) == "True":
            self.log.info("%s is not to run in this run", self.name)
            return None
        if found := self._known():
            return found
        started = time.monotonic()
        try:
            with private_dir() as scratch:
                summary, problem = self._run(context, scratch)
        except (TerminalError, ToolTimeout) as error:
            raise AirflowFailException(f"tests {self.name}: {error}") from error
        except TriplaneError as error:
            raise AirflowException(f"tests {self.name}: {error}") from error
        result = {
            "name": self.name,
            "source": self.source or "",
            "image": self.image or "",
            "summary": summary.to_json(),
            "text": str(summary),
            "seconds": round(time.monotonic() - started, 1),
        }
        self.log.info("%s: %s", self.name, summary)
        if problem:
            if self.killed:
                raise AirflowException(f"tests {self.name}: stopped from outside: {problem}")
            context["task_instance"].xcom_push(key="result", value=result)
            raise AirflowFailException(
                f"tests {self.name}: {problem}. Nothing is deployed; mend what fails and start a new run"
            )
        return sealing.seal_tests(result)

    def on_kill(self) -> None:
        """End the commands."""
        from triplane.core.process import stop_all

        self.killed = True
        stop_all()
        if self._running:
            self._running.cancel()

    def _known(self) -> dict[str, Any] | None:
        found = (self.known or {}).get(self.name)
        if not found:
            return None
        sealing.unseal_tests(found)
        if (found["source"], found["image"]) != (self.source or "", self.image or ""):
            raise AirflowFailException(
                f"tests {self.name}: the other run tested another source or image; start anew"
            )
        self.log.info("%s ran on this source already", self.name)
        return dict(found)

    def _run(self, context: Context, scratch: Path) -> tuple[Any, str | None]:
        from triplane.testing.junit import Summary, summarise
        from triplane.testing.runner import Request

        resolved = resolve(self.environment, lookup_in(self.scope))
        request = Request(
            name=self.name,
            commands=tuple(self.commands),
            environment={name: str(value) for name, value in resolved.items()},
            report=self.report,
            timeout=self.timeout,
        )
        redact = settings.redactor()
        outcome = self._ran(request, context, scratch, lambda line: self.log.info("%s", redact(line)))
        count = len(request.commands)
        summary = summarise(outcome.reports, count) if outcome.reports else Summary(commands=count)
        summary = Summary.from_json(
            {**summary.to_json(), "failed": [redact(name) for name in summary.failed]}
        )
        problem = redact(outcome.problem) if outcome.problem else None
        if outcome.reports and not summary.passed:
            problem = str(summary)
        elif not problem and self.report and not outcome.reports:
            raise InputError(f"the commands ended well, but wrote no report {self.report}; correct `report`")
        return summary, problem

    def _ran(self, request: Request, context: Context, scratch: Path, log: Any) -> Any:
        from triplane.images.layout import restore
        from triplane.testing import providers, runner

        layout = scratch / f"image-{(self.image or '').removeprefix('sha256:')[:16]}"
        if not self.image:
            root = settings.source_dir(self.source) if self.source else Path()
            self._running = runner.Workspace(root / self.path, scratch)
            return self._running.run(request, log)
        if self.runner == "kubernetes":
            self._running = providers.PodRun(
                self.reference or "", self.namespace, self._kubeconfig, context, **self.options
            )
            return self._running.run(request, log)
        restore(self.image, settings.artifact_store(), layout)
        if self.runner == "docker":
            self._running = providers.DockerRun(layout, scratch, context, **self.options)
            return self._running.run(request, log)
        from triplane.images.builders.buildah import Buildah, storage_args
        from triplane.images.operators import layer_storage

        storage = Path(self.storage) if self.storage else layer_storage()
        with Buildah(storage).in_use():
            self._running = runner.BuildahRun(layout, storage_args(storage), isolation=self.isolation)
            return self._running.run(request, log)

    def _kubeconfig(self) -> Any:
        from triplane.clouds.kubeconfig import kubeconfig

        where = resolve(self.cluster, lookup_in(self.scope))
        return kubeconfig(**where)
