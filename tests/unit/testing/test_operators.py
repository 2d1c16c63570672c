"""Tests in the workspace, as the operator runs them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from cryptography.fernet import Fernet

from triplane import sealing, settings
from triplane.core.errors import RefusedError
from triplane.source.freeze import freeze
from triplane.testing.operators import TestOperator

OK = "<testsuite><testcase name='a'/></testsuite>"
BAD = "<testsuite><testcase name='a'/><testcase classname='c' name='b'><failure/></testcase></testsuite>"


class Instance:
    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("AIRFLOW__TRIPLANE__ARTIFACT_KEY", Fernet.generate_key().decode())
    monkeypatch.setenv("AIRFLOW__TRIPLANE__SIGNING_KEY", "k" * 40)
    monkeypatch.setenv("AIRFLOW_VAR_TEST_TOKEN", "Pl4nted-test-token")
    folder = tmp_path / "platform"
    (folder / "api").mkdir(parents=True)
    (folder / "api/stale.xml").write_text(OK)
    return settings.artifact_store().put(freeze(folder, "HEAD").archive)


def run(source: str, *commands: str, instance: Instance | None = None, **kwargs: Any) -> Any:
    arguments: dict[str, Any] = {"task_id": "unit", "name": "unit", "path": "api", **kwargs}
    operator = TestOperator(commands=commands, source=source, **arguments)
    return operator.execute({"task_instance": instance or Instance()})  # type: ignore[typeddict-item]


def test_commands_that_end_well(source: str) -> None:
    found = run(source, "echo one > made", "cat made")
    assert found["text"] == "2 commands ended well"
    assert not (settings.source_dir(source) / "api/made").exists()


def test_a_report_is_counted(source: str) -> None:
    found = run(source, f'echo "{OK}" > r.xml', report="*.xml")
    assert found["text"] == "1 of 1 tests passed"
    assert sealing.unseal_tests(found)["source"] == source
    with pytest.raises(RefusedError, match="was changed"):
        sealing.unseal_tests({**found, "text": "all is well"})


@pytest.mark.parametrize(
    ("commands", "report", "match"),
    [
        (["exit 3"], None, "unit: ended with 3: it said nothing"),
        (["echo why >&2; exit 3"], None, "unit: ended with 3: why"),
        (["false", "true"], None, "ended with 1"),
        ([f'echo "{BAD}" > r.xml'], "r.xml", "1 of 2 tests passed, 1 failed: c.b"),
        ([f'echo "{BAD}" > r.xml', "exit 1"], "r.xml", "1 of 2 tests passed, 1 failed: c.b"),
        (["echo '<testsuite/>' > r.xml"], "r.xml", "holds no tests"),
        (["true"], "stale.xml", "wrote no report stale.xml"),
        (["exit 4"], "r.xml", "ended with 4"),
        (["echo '<testsuite>' > r.xml"], "r.xml", "not XML"),
        (["ln -s /etc/passwd r.xml"], "r.xml", "wrote no report"),
    ],
)
def test_what_is_a_failure(source: str, commands: list[str], report: str | None, match: str) -> None:
    with pytest.raises(AirflowFailException, match=match):
        run(source, *commands, report=report)


def test_what_failed_is_kept_for_whoever_asks(source: str) -> None:
    instance = Instance()
    with pytest.raises(AirflowFailException):
        run(source, f'echo "{BAD}" > r.xml', report="r.xml", instance=instance)
    assert instance.pushed["result"]["summary"]["failed"] == ["c.b"]


def test_secrets_reach_tests_only_when_asked(
    source: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AirflowFailException):
        run(source, 'env | grep -q "AIRFLOW\\|Pl4nted"')
    capsys.readouterr()
    run(source, 'echo "token $TOKEN"', environment={"TOKEN": "${variable.test_token}"})
    output = capsys.readouterr().out
    assert "token ***" in output
    assert "Pl4nted" not in output


def test_a_limit(source: str) -> None:
    started = time.monotonic()
    with pytest.raises(AirflowFailException, match="stopped after its limit of 1 s"):
        run(source, "sleep 27", timeout=1)
    assert time.monotonic() - started < 20


def test_what_another_run_found_is_taken(source: str) -> None:
    first = run(source, "true")
    assert run(source, "exit 1", known={"unit": first}) == first
    with pytest.raises(AirflowFailException, match="another source"):
        run(None, "true", known={"unit": first}, path=str(Path(sys.prefix)))
    with pytest.raises(RefusedError, match="was changed"):
        run(source, "exit 1", known={"unit": {**first, "seconds": 7}})


def test_not_every_run_tests(source: str) -> None:
    assert run(source, "exit 1", skip="True") is None
