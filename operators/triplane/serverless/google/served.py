"""What a Cloud Run service serves, be it a container or a function: its traffic, its answers, its log."""

from __future__ import annotations

from collections.abc import Sequence

from triplane.core.errors import TriplaneError
from triplane.serverless.google.api import google_errors, step
from triplane.serverless.google.cloud_run_services import CloudRunServices
from triplane.serverless.target import Answer, DeployFailed, Desired, Log, Observed, Progress, Smoke


class ServedByCloudRun:
    """A target whose revisions are those of a Cloud Run service."""

    splits = True
    apart = True
    _run: CloudRunServices

    def observe(self, name: str) -> Observed | None:
        """The revision that serves (``a=90,b=10`` where traffic is split), and what it was made from."""
        raise NotImplementedError

    def _service_name(self, name: str) -> str:
        """The full name of its service. :raises DeployFailed: it is gone"""
        raise NotImplementedError

    def shift(self, name: str, version: str, percent: int, previous: Observed | None, log: Log) -> Progress:
        """Give ``percent`` of the service's traffic to ``version``; the last step also takes its tag away."""
        return step(name, lambda: self._run.shift(self._service_name(name), version, percent, previous))

    def verify(self, desired: Desired, version: str) -> None:
        """Read back that ``version`` has all traffic, and what it runs."""
        found = self.observe(desired.name)
        if found is None or found.version != version:
            raise DeployFailed(f"{(found and found.version) or 'nothing'} serves, not {version}")
        if found.artifact != desired.artifact:
            raise DeployFailed(f"{version} runs {found.artifact}, not {desired.artifact}")

    def invoke(self, name: str, version: str, smoke: Smoke) -> Answer:
        """Ask the revision at the URL of its tag, with an ID token of the connection if it can have one."""
        with google_errors(name):
            return self._run.invoke(self._service_name(name), version, smoke)

    def tail(self, name: str, version: str) -> Sequence[str]:
        """The last lines that the code has written, from Cloud Logging if the target was given its log."""
        try:
            with google_errors(name):
                return self._run.tail(self._service_name(name), version)
        except TriplaneError:
            return ()
