"""One Airflow for all tests of whole deployments."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.parent import PATIENT
from tests.e2e.deployment import autopsy
from tests.e2e.deployment.small import DAGS, PREFIX, SmallPlatform
from triplane.sandbox.airflow import AirflowApi, AirflowError, LocalAirflow
from triplane.sandbox.runtime import Sandbox

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "examples" / "demo"))

import outside  # noqa: E402
from platform_copy import PlatformCopy  # noqa: E402

SECRETS = {
    "streaming_database_password": "Pl4nted-database-7f3a9",
    "streaming_webhook_token": "Pl4nted-webhook-c81d2",
    "streaming_chart_secret": "Pl4nted-chart-55e0b",
}
DAG_IDS = ("deploy", "deploy_aws", "deploy_gcp", "deploy_azure", "drift_check")
ENVIRONMENTS = {
    "small": {"approval": {"low": 1, "medium": 1, "high": 1, "critical": 1}},
    "guarded": {"approval": {"low": 2, "medium": 2, "high": 2, "critical": 2, "approvers": ["bob", "carol"]}},
    "unasked": {"approval": {"low": 0, "medium": 0}},
    "asked": {"approval": {"reason_from": "low"}},
    "vetoed": {
        "approval": {
            "low": 2,
            "approvers": ["leads"],
            "required": {"low": ["security"]},
            "reason_from": "low",
        }
    },
    "frozen": {"freezes": [{"from": "2020-01-01", "to": "2098-12-31", "reason": "it is retired"}]},
    "hasty": {"approval": {"expires": "90s", "remind": "20s"}},
    "ci": {"approval": {"low": 0, "medium": 0}},
    "ci-asked": {"approval": {"low": 1, "medium": 1, "high": 1, "critical": 1}},
    "lenient": {},
    "strict": {"release": {"policy": "all_or_nothing"}},
    "newest": {"release": {"supersede": True}},
    "drifting": {
        "approval": {"low": 1, "medium": 1, "high": 1, "critical": 1},
        "drift": {"schedule": "0 6 1 1 *", "alarm_after": 2, "on_drift": ["deploy"]},
    },
}
"""Of the small platform. The first three ask anybody, two of two people, and nobody; the others are of test_approvals."""
GROUPS = {"leads": ["bob", "carol"], "security": ["carol"]}


TOLD = {"told": {}, "told_alone": {"approval": {"low": 0, "medium": 0}}}
NOTIFY: dict[str, Any] = {
    "hook": {"webhook": {"connection": "told_hook"}},
    "mail": {
        "email": {"connection": "told_mail", "to": ["ops@example.com"]},
        "events": ["approval_needed", "deployed"],
        "environments": ["told"],
    },
}
MARKERS = {"pushgateway": {"connection": "pushgateway_default"}}
SOURCE = {"github": {"repository": "acme/shop", "connection": "told_forge"}}
"""Of a second small platform, which tells people and GitHub of what it does."""


class Installation:
    """A running Airflow with the example and a small platform, and what people do with them."""

    def __init__(
        self,
        airflow: LocalAirflow,
        platform: PlatformCopy,
        small: SmallPlatform,
        told: SmallPlatform,
        sandbox: Sandbox,
        listener: outside.Listener,
        first: str,
    ) -> None:
        self.listener = listener
        self.airflow = airflow
        self.platform = platform
        self.small = small
        self.told = told
        self.spec = platform.spec.read_text()
        self.first = self.good = first
        """The commits from which AWS was deployed first and last."""
        self.sandbox = sandbox
        self.alice: AirflowApi = airflow.api("alice")
        self.bob: AirflowApi = airflow.api("bob")
        self.carol: AirflowApi = airflow.api("carol")
        self.olga: AirflowApi = airflow.api("olga")

    def commit_spec(self, message: str) -> str:
        """Commit a change of ``platform.yaml`` and wait until Airflow has read it."""
        commit = self.platform.commit(message)
        self.olga.parse_again(*DAG_IDS)
        return commit

    def start(self, **conf: Any) -> str:
        """A run of the parent, asked for by alice."""
        return self.alice.trigger("deploy", {"environment": "staging", **conf})

    def start_small(self, environment: str = "small", **conf: Any) -> str:
        """A run of the small platform's parent, asked for by alice."""
        return self.alice.trigger(f"{PREFIX}deploy", {"environment": environment, **conf})

    def approve(self, run_id: str, dag_id: str = "deploy") -> str:
        """Bob approves; returns how the run ended."""
        for question in self.alice.wait_for_question(dag_id, run_id):
            answer = self.bob.answer(question, "Approve")
            assert answer.status_code == 200, answer.text
        return self.alice.wait(dag_id, run_id)

    def deploy_alone(self, cloud: str, **conf: Any) -> dict[str, Any]:
        """A run of one cloud's DAG, asked for by alice and approved by bob if it asks: how it went."""
        dag_id = f"deploy_{cloud}"
        run_id = self.alice.trigger(dag_id, {"environment": "staging", **conf})
        try:
            questions = self.alice.wait_for_question(dag_id, run_id)
        except AirflowError:
            questions = []
        for question in questions:
            assert self.bob.answer(question, "Approve").status_code == 200
        state = self.alice.wait(dag_id, run_id)
        results = self.alice.xcom(dag_id, run_id, "record") if state == "success" else []
        return {"run_id": run_id, "state": state, "question": next(iter(questions), None), "results": results}

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Olga, who runs the machine, clears a task and what follows."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        answer = self.olga.request("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)
        assert answer.status_code == 200, answer.text

    def rows(self, run_id: str) -> dict[tuple[str, str], dict[str, Any]]:
        """The report, by cloud and component."""
        found = self.alice.xcom("deploy", run_id, "report", "rows")
        return {(row["cloud"], row["component"]): row for row in found}

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """One task instance."""
        return next(task for task in self.alice.tasks(dag_id, run_id) if task["task_id"] == task_id)

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """The log of a task's last try, once it grows no more: its end may come after the task's."""
        tries = self.task(dag_id, run_id, task_id)["try_number"]
        found, before = self.alice.logs(dag_id, run_id, task_id, attempt=tries), ""
        while found != before:
            time.sleep(1)
            found, before = self.alice.logs(dag_id, run_id, task_id, attempt=tries), found
        return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what Airflow was at."""
    report = yield
    installation = getattr(item, "funcargs", {}).get("installation")
    if report.failed and isinstance(installation, Installation):
        with suppress(Exception):
            report.sections.append(("Airflow", autopsy.tell(installation.olga)))
    return report


@pytest.fixture(scope="package")
def installation(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("installation")
    platform = PlatformCopy(home / "platform")
    platform.add_chart_secret("streaming_chart_secret")
    first = platform.commit("The platform as it is")
    small = SmallPlatform(home / "small" / "platform", ENVIRONMENTS, groups=GROUPS)
    told = SmallPlatform(home / "told" / "platform", TOLD, notify=NOTIFY, source=SOURCE, markers=MARKERS)
    dags = home / "dags"
    for folder in (ROOT / "dags", DAGS):
        shutil.copytree(folder, dags, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    airflow = LocalAirflow(
        home / "airflow",
        dags=dags,
        platform=platform.spec,
        environ={
            **sandbox.environ(),
            **PATIENT,
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",  # see `Installation.commit_spec`
            "SMALL_PLATFORM": str(small.spec),
            "TOLD_PLATFORM": str(told.spec),
        },
        port=sandbox.port("airflow"),
    )
    with pytest.MonkeyPatch.context() as clouds:
        for name, value in sandbox.environ().items():
            clouds.setenv(name, value)
        outside.fill_stores(SECRETS["streaming_database_password"])
        listener = outside.Listener()
    try:
        airflow.start()
        airflow.wait_for_dags(*DAG_IDS, *(f"{PREFIX}{name}" for name in DAG_IDS), "silent_gates")
        for key, value in SECRETS.items():
            airflow.api().set_variable(key, value)
        yield Installation(airflow, platform, small, told, sandbox, listener, first)
    finally:
        airflow.stop()


@pytest.fixture(scope="package")
def deployed(installation: Installation) -> str:
    """The id of a parent run that deployed everything."""
    run_id = installation.start()
    assert installation.approve(run_id) == "success"
    return run_id
