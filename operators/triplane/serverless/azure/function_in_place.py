"""Deployments of a function app in place, where there is no slot: production is changed, and put back if that fails.

What served is noted in the app's ``metadata`` before anything changes, so that any process can put it back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from triplane.core.digest import digest
from triplane.core.errors import InputError, RefusedError
from triplane.serverless.azure import function_app_body as body
from triplane.serverless.azure.function_rollout import STEP_SECONDS, Rollout, differs
from triplane.serverless.azure.function_side import Found, Side
from triplane.serverless.azure.stream_settings import of, replaced
from triplane.serverless.target import Desired, Log, Observed, Progress, Ready, Waiting

BEFORE: Final = "TRIPLANE_BEFORE"


@dataclass(frozen=True, kw_only=True)
class InPlace:
    """``packages`` gives the package of a digest, ``keep`` keeps one."""

    rollout: Rollout
    packages: Callable[[str], bytes] | None
    keep: Callable[[bytes], object] | None

    def take_over(
        self, side: Side, found: Found, desired: Desired, sticky: Collection[str], log: Log
    ) -> Progress:
        """Notes what serves, then takes the app over by its settings; from then on it carries this attempt."""
        if not self.noted(side, desired.attempt):
            self._write_note(side, found, desired.attempt)
        log(f"{desired.name}: configuring it in place for {desired.artifact}")
        side.write_settings(body.settings(desired, found.settings, sticky, {}))
        return Waiting(why=f"{desired.name} restarts with its new settings", seconds=STEP_SECONDS)

    def put_back(
        self, side: Side, found: Found, note: Mapping[str, Any], previous: Observed, log: Log
    ) -> Progress:
        """Package, site, and last the settings: as soon as those are back, so is the stamp of before."""
        version = found.version
        if found.image is None and note["version"] and version != note["version"]:
            text = body.message(note["artifact"], f"put-back-{note['attempt']}")
            package = None if found.sent(text) else self._package(side.app, note["package"])
            sent = self.rollout.sent(side, found, package or b"", text, log)
            if isinstance(sent, Waiting):
                return sent
            version = sent.id
        if found.config.linux_fx_version != note["runs"] or differs(found, note["options"]):
            side.write(
                found.site,
                self.rollout.location,
                body.site_change(note["options"], note["runs"], new=False),
                {},
            )
            return Waiting(why=f"{side.label} is being configured", seconds=STEP_SECONDS)
        settings = replaced(note["settings"], of(found.settings))
        if found.settings != settings:
            log(f"{side.label}: putting back its settings")
            side.write_settings(settings)
            return Waiting(why=f"{side.label} restarts with its settings of before", seconds=STEP_SECONDS)
        if not note["version"]:
            return Ready(version=version)
        progress = self.rollout.healthy(side, found, None, str(note["options"].get("health_path") or ""))
        return progress if isinstance(progress, Waiting) else Ready(version=version)

    def note(self, side: Side) -> dict[str, Any]:
        """What served before the last deployment in place, and whose attempt that was; empty if there was none."""
        found = json.loads(side.metadata().get(BEFORE) or "{}")
        return dict(found) if isinstance(found, dict) else {}

    def noted(self, side: Side, attempt: str) -> bool:
        return self.note(side).get("attempt") == attempt

    def _write_note(self, side: Side, found: Found, attempt: str) -> None:
        note = {
            "attempt": attempt,
            "version": found.version,
            "artifact": found.artifact,
            "package": self._saved(side, found) if found.image is None and found.version else None,
            "runs": found.config.linux_fx_version,
            "options": found.options,
            "settings": dict(found.settings),
        }
        side.write_metadata({**side.metadata(), BEFORE: json.dumps(note)})

    def _saved(self, side: Side, found: Found) -> str:
        """The digest under which the package that serves can be had again.

        :raises InputError: it cannot be kept anywhere
        """
        if self.packages is not None and found.artifact is not None:
            try:
                self.packages(found.artifact)
            except RefusedError:
                pass  # deployed by another installation: take it from where it runs
            else:
                return found.artifact
        if self.keep is None:
            raise InputError(
                f"{side.label}: there is no slot to deploy to, and no store to keep what serves in"
            )
        package = side.kudu(found.site).download()
        self.keep(package)
        return digest(package)

    def _package(self, name: str, wanted: str) -> bytes:
        if self.packages is None:
            raise InputError(f"{name}: there is no store to take {wanted} from; deploy it by hand")
        return self.packages(wanted)
