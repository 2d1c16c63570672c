"""Tests in a pod, with the provider's own operator and its two calls to a cluster replaced: no pod runs here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException

from triplane.testing.providers import BEGIN, END, PodRun, pod_shell, reports_in
from triplane.testing.runner import Request

REFERENCE = "registry.example.com/shop/api@sha256:" + "a" * 64


def shell(request: Request, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(pod_shell(request), cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("commands", "code", "reports"),
    [
        (("echo '<testsuite/>' > r.xml", "echo done"), 0, [b"<testsuite/>"]),
        (("echo '<testsuite/>' > r.xml", "exit 3", "echo never"), 3, [b"<testsuite/>"]),
        (("false", "echo '<testsuite/>' > r.xml"), 1, []),
        (("true",), 0, []),
    ],
)
def test_the_log_of_a_pod_holds_the_report(
    commands: tuple[str, ...], code: int, reports: list[bytes], tmp_path: Path
) -> None:
    done = shell(Request(name="t", commands=commands, report="r.xml"), tmp_path)
    assert done.returncode == code
    assert "never" not in done.stdout
    assert reports_in(done.stdout.splitlines()) == reports


def test_a_report_that_is_cut_off_is_none() -> None:
    assert reports_in([BEGIN, "<testsuite>"]) == []
    assert reports_in([BEGIN, "<a/>", END, "x", BEGIN, "<b/>", END]) == [b"<a/>", b"<b/>"]


@contextmanager
def kubeconfig() -> Iterator[Path]:
    yield Path("/k")


class Cluster:
    """What ``KubernetesPodOperator`` is asked to run, and the log that it gets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lines: list[str], error: str = "") -> None:
        self.pods: list[Any] = []

        def execute(operator: Any, context: Any) -> None:
            self.pods.append(operator.build_pod_request_obj())
            self.operator = operator
            for line in lines:
                operator.log_formatter("base", line)
            if error:
                raise AirflowException(error)

        monkeypatch.setattr(KubernetesPodOperator, "execute", execute)
        monkeypatch.setattr(KubernetesPodOperator, "hook", Hook())


class Hook:
    is_in_cluster = False

    def get_namespace(self) -> str:
        return "other"


def test_the_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(monkeypatch, ["one", BEGIN, "<testsuite/>", END])
    request = Request(
        name="smoke_1", commands=("true",), report="r.xml", environment={"TOKEN": "hunter2"}, timeout=30
    )
    outcome = PodRun(REFERENCE, "streaming", kubeconfig, {}).run(request, print)
    assert outcome.problem is None
    assert outcome.reports == [b"<testsuite/>"]
    (pod,) = cluster.pods
    (container,) = pod.spec.containers
    assert pod.metadata.namespace == "streaming"
    assert pod.metadata.name.startswith("test-smoke-1")
    assert container.image == REFERENCE
    assert container.command == list(pod_shell(request))
    assert [(variable.name, variable.value) for variable in container.env] == [("TOKEN", "hunter2")]
    assert pod.spec.active_deadline_seconds == 30
    assert cluster.operator.config_file == "/k"
    assert not cluster.operator.log_pod_spec_on_failure


def test_a_pod_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    Cluster(monkeypatch, [BEGIN, "<testsuite/>", END], "Pod test-smoke returned a failure.\nremote_pod: ...")
    outcome = PodRun(REFERENCE, "streaming", kubeconfig, {}).run(
        Request(name="smoke", commands=("false",), report="r.xml"), print
    )
    assert outcome.problem == "Pod test-smoke returned a failure."
    assert outcome.reports == [b"<testsuite/>"]
