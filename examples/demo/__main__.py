"""Deploy the streaming platform to three clouds on this machine, change it, damage it, find the damage.

``APPROVE=ui`` waits for a person in the browser; ``KEEP=1`` leaves everything running at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import outside
import reads
from platform_copy import PlatformCopy
from progress import follow, say, table

from triplane.core.errors import TriplaneError
from triplane.drift.report import lines
from triplane.sandbox.airflow import AirflowApi, LocalAirflow
from triplane.sandbox.runtime import Sandbox

DAGS = Path(__file__).parents[2] / "dags"
DAG_IDS = ("deploy", "deploy_aws", "deploy_gcp", "deploy_azure", "drift_check")
ENVIRONMENT = "staging"
SECRETS = {"streaming_database_password": "demo-Passw0rd-4711", "streaming_webhook_token": "demo-t0ken-0815"}

TOLD = ["approval_needed", "deployed"] * 2 + ["drift_found"]


class Failed(Exception):
    """The demo did not show what it is there to show."""


def main() -> int:
    """Run the demo and clean up, whatever happens."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = Path(tempfile.mkdtemp(prefix="triplane-demo-"))
    keep = os.environ.get("KEEP") == "1"
    started: list[Any] = []
    try:
        line = _demo(home, started)
        if keep:
            say(f"everything is up; to end it: {_ending(home, started)}")
        print(line)
        return 0
    except (Failed, reads.Disagreement, TriplaneError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    finally:
        if not keep:
            for thing in reversed(started):
                (thing.stop if isinstance(thing, LocalAirflow) else thing.down)()
            shutil.rmtree(home, ignore_errors=True)


def _demo(home: Path, started: list[Any]) -> str:
    platform = PlatformCopy(home / "platform")
    platform.commit("The platform as it is")
    say("starting three clouds")
    sandbox = Sandbox.up(home / "sandbox", on_progress=lambda text: say(f"  {text}"))
    started.append(sandbox)
    os.environ.update(sandbox.environ())
    outside.fill_stores(SECRETS["streaming_database_password"])
    listener = outside.Listener()
    airflow = _airflow(home, sandbox, platform)
    started.append(airflow)
    say("1. deploy everything")
    first = _deploy(airflow)
    _require(all(row["state"] == "deployed" for row in first), "the first deployment deploys every component")
    reads.check_all(sandbox, first, ENVIRONMENT)

    say("2. change one service and one stack, and deploy again")
    platform.change_service()
    platform.change_stack()
    platform.commit("Larger events, and another tag on the network")
    second = _deploy(airflow)
    changed = [row for row in second if row["state"] == "deployed"]
    expected = {("aws", "stack/network"), *((cloud, "chart/ingest") for cloud in ("aws", "gcp", "azure"))}
    _require(
        {(row["cloud"], row["component"]) for row in changed} == expected, f"only {sorted(expected)} change"
    )
    reads.check_all(sandbox, second, ENVIRONMENT)

    say("3. damage a stack behind Terraform's back, and look for drift")
    reads.damage(ENVIRONMENT)
    drifted = _drift(airflow)
    _require(drifted == ["aws/stack/network"], f"the drift check finds aws/stack/network, found {drifted}")
    heard = sorted(listener.heard(len(TOLD)))
    _require(heard == sorted(TOLD), f"the topic hears of all of it once, heard {heard}")
    planted = [secret for secret in SECRETS.values() if secret in str(listener.told)]
    _require(not planted, "no message holds a secret")
    return (
        f"demo: {len(second)} components on 3 clouds, {len(changed)} changed, "
        f"{len(second) - len(changed)} unchanged, {len(drifted)} drift found"
    )


def _airflow(home: Path, sandbox: Sandbox, platform: PlatformCopy) -> LocalAirflow:
    airflow = LocalAirflow(
        home / "airflow",
        dags=DAGS,
        platform=platform.spec,
        environ=sandbox.environ(),
        port=sandbox.port("airflow"),
    )
    say(f"starting Airflow at {airflow.url}")
    airflow.start()
    airflow.wait_for_dags(*DAG_IDS)
    for key, value in SECRETS.items():
        airflow.api().set_variable(key, value)
    return airflow


def _deploy(airflow: LocalAirflow) -> list[dict[str, Any]]:
    """One run of the parent, asked for by alice, approved by bob; returns the report's rows."""
    api = airflow.api("alice")
    run_id = _trigger(api, "deploy", {"environment": ENVIRONMENT})
    state = follow(api, "deploy", run_id, on_question=lambda questions: _approve(airflow, run_id, questions))
    rows = api.xcom("deploy", run_id, "report", "rows") or []
    table(rows)
    _require(state == "success", f"run {run_id} of deploy ended {state}; see {airflow.home}/logs")
    return list(rows)


def _trigger(api: AirflowApi, dag_id: str, conf: dict[str, Any]) -> str:
    """A parse of the changed spec may still be under way: the freeze task would refuse to go on."""
    time.sleep(1)
    run_id = api.trigger(dag_id, conf)
    say(f"{dag_id}: run {run_id}")
    return run_id


def _approve(airflow: LocalAirflow, run_id: str, questions: Sequence[dict[str, Any]]) -> None:
    print(questions[0]["body"])
    if os.environ.get("APPROVE") == "ui":
        passwords = {user: airflow.password(user) for user in ("bob", "carol")}
        say(
            f"answer in the browser: {airflow.url}/dags/deploy/runs/{run_id}/required_actions as one of {passwords}"
        )
        return
    for user, question in zip(("bob", "carol"), questions, strict=False):
        answer = airflow.api(user).answer(question, "Approve")
        _require(answer.status_code == 200, f"{user} approves: {answer.status_code} {answer.text[:300]}")
        say(f"{user} approved")


def _drift(airflow: LocalAirflow) -> list[str]:
    api = airflow.api("alice")
    run_id = _trigger(api, "drift_check", {"environment": ENVIRONMENT})
    state = follow(api, "drift_check", run_id)
    _require(state == "success", f"drift_check ended {state}")
    report = api.xcom("drift_check", run_id, "report", "report")
    print("\n".join(lines(report)))
    return [item["address"] for item in report["components"] if item["state"] == "drifted"]


def _ending(home: Path, started: Sequence[Any]) -> str:
    sandbox, airflow = started
    return (
        f"kill -TERM -{airflow.pid}; {sys.executable} -m triplane.sandbox down --home {sandbox.home}; rm -r {home} {airflow.database.folder}"
        f"   (Airflow: {airflow.url}, admin / {airflow.password('admin')})"
    )


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise Failed(f"expected: {what}")


if __name__ == "__main__":
    sys.exit(main())
