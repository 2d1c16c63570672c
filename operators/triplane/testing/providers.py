"""Tests in containers that others run: a Docker Engine and a Kubernetes cluster, through their providers' operators."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from triplane.core.errors import ToolTimeout
from triplane.core.process import Command, run, tool_env
from triplane.testing.runner import Log, Outcome, Request

BEGIN, END = "-----BEGIN TRIPLANE REPORT-----", "-----END TRIPLANE REPORT-----"


class DockerRun:
    """Runs in a Docker Engine with ``DockerOperator``; the image, given as OCI layout, is loaded into it."""

    def __init__(self, layout: Path, scratch: Path, context: Any, **options: Any) -> None:
        self._layout = layout
        self._archive = scratch / "image.tar"
        self._context = context
        self._options = options
        self._operator: Any = None

    def run(self, request: Request, log: Log) -> Outcome:
        """Load the image, run a container of it, fetch the report out of it, remove both."""
        from airflow.providers.docker.exceptions import DockerContainerFailedException
        from airflow.providers.docker.operators.docker import DockerOperator
        from requests.exceptions import ReadTimeout

        tag = f"triplane-test:{uuid.uuid4().hex}"
        self._operator = DockerOperator(
            task_id=f"{request.name}.container",
            image=tag,
            entrypoint=list(request.shell[:3]),
            command=[request.shell[3]],
            private_environment=dict(request.environment),
            mount_tmp_dir=False,
            auto_remove="never",
            do_xcom_push=False,
            timeout=int(request.timeout),
            **self._options,
        )
        client = self._operator.cli
        convert = ("skopeo", "copy", f"oci:{self._layout}", f"docker-archive:{self._archive}:{tag}")
        run(Command(argv=convert, env=tool_env()), timeout=600)
        with self._archive.open("rb") as archive:
            for event in client.load_image(archive):
                log(str(event.get("stream", "")).strip())
        try:
            problem = None
            try:
                self._operator.execute(self._context)
            except DockerContainerFailedException as error:
                problem = str(error).splitlines()[0]
            except ReadTimeout as error:
                raise ToolTimeout(("docker", "run"), 1, str(error), request.timeout) from error
            return Outcome(problem, _fetched(client, self._operator.container["Id"], request.report))
        finally:
            if self._operator.container:
                client.remove_container(self._operator.container["Id"], force=True)
            client.remove_image(tag, force=True)

    def cancel(self) -> None:
        """Stop the container."""
        if self._operator is not None:
            self._operator.on_kill()


class PodRun:
    """Runs as a pod with ``KubernetesPodOperator``; ``reference`` is the image in a registry of the cluster's cloud.

    ``kubeconfig`` gives a kubeconfig file for as long as it is needed. The report is read from the pod's log.
    """

    def __init__(
        self,
        reference: str,
        namespace: str,
        kubeconfig: Callable[[], AbstractContextManager[Path]],
        context: Any,
        **options: Any,
    ) -> None:
        self._reference = reference
        self._namespace = namespace
        self._kubeconfig = kubeconfig
        self._context = context
        self._options = options
        self._operator: Any = None

    def run(self, request: Request, log: Log) -> Outcome:
        """Run the pod to its end; it is deleted then."""
        from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
        from airflow.providers.cncf.kubernetes.utils.pod_manager import PodLaunchFailedException
        from airflow.sdk.exceptions import AirflowException

        lines: list[str] = []

        def collect(container: str, message: str) -> str:
            lines.append(message)
            return message

        with self._kubeconfig() as path:
            self._operator = KubernetesPodOperator(
                task_id=f"{request.name}.pod",
                name=f"test-{request.name}".replace("_", "-"),
                namespace=self._namespace,
                image=self._reference,
                cmds=list(pod_shell(request)),
                env_vars=dict(request.environment),
                config_file=str(path),
                kubernetes_conn_id=None,
                in_cluster=False,
                log_pod_spec_on_failure=False,
                log_formatter=collect,
                active_deadline_seconds=int(request.timeout),
                do_xcom_push=False,
                on_finish_action="delete_pod",
                deferrable=False,
                **self._options,
            )
            problem = None
            try:
                self._operator.execute(self._context)
            except PodLaunchFailedException:
                raise
            except AirflowException as error:
                problem = (str(error).splitlines() or ["the pod failed"])[0]
        return Outcome(problem, reports_in(lines))

    def cancel(self) -> None:
        """Delete the pod."""
        if self._operator is not None:
            self._operator.on_kill()


def pod_shell(request: Request) -> tuple[str, ...]:
    """The commands as one, whose output ends with the report; the return code is that of the commands."""
    if not request.report:
        return request.shell
    script = "\n".join(request.commands)
    shown = (
        f"if [ -f '{request.report}' ]; then echo '{BEGIN}'; cat '{request.report}'; echo; echo '{END}'; fi"
    )
    return ("sh", "-c", f"( set -e\n{script}\n)\ncode=$?\n{shown}\nexit $code")


def reports_in(lines: list[str]) -> list[bytes]:
    """The reports that a pod's log holds whole."""
    text = "\n".join(lines)
    parts = (part.partition(END) for part in text.split(BEGIN)[1:])
    return [report.strip().encode() for report, end, _ in parts if end]


def _fetched(client: Any, container: str, report: str | None) -> list[bytes]:
    """The report in a container, as the Engine hands it out: as a tar archive."""
    import posixpath

    from docker.errors import NotFound

    if not report:
        return []
    folder = client.inspect_container(container)["Config"].get("WorkingDir") or "/"
    try:
        chunks, _ = client.get_archive(container, posixpath.join(folder, report))
    except NotFound:
        return []
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        files = (tar.extractfile(member) for member in tar if member.isfile())
        return [file.read() for file in files if file]
