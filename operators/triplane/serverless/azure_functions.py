"""Azure Functions: a package or image is brought up in a deployment slot, then the slot is swapped with production.

What a deployment leaves behind must move with its content. Tags belong to a site or slot and stay there in a swap,
application settings move: so whose a side is, and how it was written, is in the setting ``TRIPLANE_STAMP``, and the
attempt and the digest of a package are in the message of its deployment, which is part of the content too. Tags only
tell people what serves. The slot then holds what served before, so a swap takes a deployment back.

A swap leaves identities, the network, TLS and access restrictions where they are: production gets those of the new
version just before the swap.

Where there are no slots, production is deployed to in place. What has to be put back if that fails is noted in the
app's ``metadata`` beforehand: the settings of before may hold secrets, and there only who may read settings reads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from triplane.core.digest import digest
from triplane.core.errors import InputError, RefusedError, StaleError, TerminalError, TriplaneError
from triplane.serverless import function_app_body as body
from triplane.serverless.azure_calls import ONCE, ask, calling, serving, stepwise, tags
from triplane.serverless.function_side import Found, Side
from triplane.serverless.kudu import FAILED, Deployment
from triplane.serverless.target import (
    Answer,
    DeployFailed,
    Desired,
    Kind,
    Log,
    Observed,
    Progress,
    Ready,
    Smoke,
    Waiting,
)

STEP_SECONDS: Final = 3.0
BEFORE: Final = "TRIPLANE_BEFORE"
MADE_TAG: Final = "triplane-slot"
# What it means that these are not among the options of what served before.
UNSET: Final[Mapping[str, Any]] = {"health_path": "", "identity": [], "allow": []}


class AzureFunctions:
    """Function apps of one resource group.

    ``client`` is an ``azure.mgmt.web.WebSiteManagementClient``, ``token`` gives access tokens for Resource Manager.
    ``packages`` gives a package by its digest and ``keep`` keeps one (``ArtifactStore.get`` and ``put``): a deployment
    in place needs the package of before. An ``AzureWebJobsStorage`` connection, where triggers need one, belongs in the
    function's environment. A package must load its functions within ``health_seconds`` after it was unpacked.

    Options: ``runtime`` (``python|3.11``; not for images), ``plan`` (resource id of an App Service plan; without it
    Azure makes a consumption plan), ``health_path`` (must answer below 400), ``slot`` (``staging`` by default; ``none``
    deploys in place), ``identity`` (list of resource ids of managed identities, or ``system``), ``vnet_subnet``
    (resource id), ``min_tls`` (``1.2``), ``https_only`` (true for new apps), ``allow`` (list of networks that may call,
    CIDR; an empty list lets everybody), ``auth_level`` (``anonymous``, ``function`` or ``admin``: noted only, the
    code decides). An environment value ``keyvault://VAULT/NAME`` or ``keyvault://VAULT/NAME/VERSION`` is read by Azure
    from Key Vault.
    """

    options = body.OPTIONS
    runs: frozenset[Kind] = frozenset({"package", "image"})
    splits = False

    def __init__(
        self,
        client: Any,
        token: Callable[[], str],
        *,
        resource_group: str,
        location: str,
        packages: Callable[[str], bytes] | None = None,
        keep: Callable[[bytes], object] | None = None,
        health_seconds: float = 60.0,
    ) -> None:
        self._apps = client.web_apps
        self._token = token
        self._group = resource_group
        self._location = location
        self._packages = packages
        self._keep = keep
        self._health_seconds = health_seconds

    def observe(self, name: str) -> Observed | None:
        """What production runs: the id of its active deployment, for an image the attempt that brought it."""
        found = self._side(name).look()
        return None if found is None else self._observed(name, found)

    @stepwise
    def prepare(self, desired: Desired, previous: Observed | None, log: Log) -> Progress:
        """Brings the version up in the slot; in production where nothing serves yet, or there are no slots."""
        body.check(desired)
        name = desired.name
        side = self._side(name)
        site = side.site()
        if site is None:
            if previous is not None:
                raise StaleError(f"{name}: the function app is gone; plan again")
            return self._create(side, desired, {}, frozenset(), {}, log)
        found = self._look(side, site)
        if found.attempt == desired.attempt:
            return self._bring_up(side, found, desired, log)
        serving(name, self._observed(name, found), previous)
        slot = str(desired.known_options().get("slot") or body.SLOT)
        if slot != "none" and not self._noted(side, desired.attempt):
            try:
                return self._in_slot(name, slot, found, desired, log)
            except TerminalError as error:
                if "number of slots" not in str(error):
                    raise
                log(f"{name}: its plan allows no further slot, deploying in place")
        return self._in_place(side, found, desired, log)

    @stepwise
    def shift(self, name: str, version: str, percent: int, previous: Observed | None, log: Log) -> Progress:
        """Swaps the slot that holds ``version`` with production."""
        production = self._side(name)
        found = self._idle(production)
        if isinstance(found, Waiting):
            return found
        if found.version == version:
            return self._as_stamped(production, found, found, log) or self._serves(production, found)
        slot = self._holding(name, version)
        if slot is None:
            raise StaleError(f"{name}: no slot holds {version} any more; plan again")
        serving(name, self._observed(name, found), previous)
        return self._as_stamped(production, found, slot[1], log, tagged=False) or self._swap(
            name, slot[0], log
        )

    def verify(self, desired: Desired, version: str) -> None:
        """Reads back the active deployment and the package or image it came from."""
        observed = self.observe(desired.name)
        if observed is None or observed.version != version:
            raise DeployFailed(
                f"{desired.name}: {observed.version if observed else 'no app'} serves, not {version}"
            )
        if (observed.artifact, observed.config) != (desired.artifact, desired.config):
            raise DeployFailed(f"{desired.name}: {observed.artifact} serves, not {desired.artifact}")

    @stepwise
    def restore(self, name: str, previous: Observed | None, log: Log) -> Progress:
        """Swaps back, or puts back what was deployed over, and removes what failed."""
        production = self._side(name)
        if previous is None:
            return self._remove_new(production, log)
        found = self._idle(production)
        if isinstance(found, Waiting):
            return found
        note = self._note(production)
        again = f"put-back-{note.get('attempt')}"
        if note.get("version") == previous.version and (
            found.attempt == note["attempt"] or found.sent(body.message(previous.artifact, again))
        ):
            return self._put_back(production, found, note, previous, log)
        if found.version == previous.version:
            before = {**UNSET, **previous.options}
            if waiting := self._as_stamped(production, found, found, log, options=before):
                return waiting
            return self._clean(name, log) or Ready(version=previous.version)
        slot = self._holding(name, previous.version)
        if slot is None:
            raise DeployFailed(
                f"{name}: {found.version or 'nothing'} serves, and no slot holds {previous.version}"
            )
        return self._swap(name, slot[0], log)

    def invoke(self, name: str, version: str, smoke: Smoke) -> Answer:
        """Asks production or the slot that holds ``version``; a function that wants a key gets the host's."""
        side, found = self._where(name, version)
        url = f"https://{found.site.default_host_name}"
        answer = ask(url, smoke)
        if answer.status == 401 != smoke.status and (key := side.key()):
            return ask(url, smoke, {"x-functions-key": key})
        return answer

    def tail(self, name: str, version: str) -> Sequence[str]:
        """The last lines of the log of the side that holds ``version``, or of the last one deployed to."""
        try:
            sides = [*self._slots(name), self._side(name)]
            looks = [(side, found) for side in sides if (found := side.look()) is not None]
            match = [(side, found) for side, found in looks if version and found.version == version]
            side, found = (match or looks)[0]
            return side.kudu(found.site).log()
        except (TriplaneError, IndexError):
            return ()

    @stepwise
    def delete(self, name: str) -> Progress:
        """Deletes the app with its slots; its plan stays, other apps may run on it."""
        side = self._side(name)
        if side.site() is None:
            return Ready(version="")
        for each in (*self._slots(name), side):
            each.remove()
        return Waiting(why=f"{name} is being deleted", seconds=STEP_SECONDS)

    def _in_slot(self, name: str, slot: str, production: Found, desired: Desired, log: Log) -> Progress:
        options = desired.known_options()
        if (
            options.get("plan")
            and str(options["plan"]).lower() != str(production.site.server_farm_id or "").lower()
        ):
            raise InputError(
                f"{name}: a swap cannot move an app to another plan; move it by hand, or use slot: none"
            )
        side = self._side(name, slot)
        site = side.site()
        sticky = self._sticky(name)
        if site is None:
            shared = {key: value for key, value in production.settings.items() if key not in sticky}
            return self._create(side, desired, shared, sticky, {MADE_TAG: "made"}, log)
        found = self._look(side, site)
        if found.attempt != desired.attempt:
            log(f"{side.label}: configuring it for {desired.artifact}")
        return self._bring_up(side, found, desired, log)

    def _in_place(self, side: Side, found: Found, desired: Desired, log: Log) -> Progress:
        """Notes what serves, then takes the app over by its settings; from then on it carries this attempt."""
        if not self._noted(side, desired.attempt):
            self._write_note(side, found, desired.attempt)
        log(f"{desired.name}: configuring it in place for {desired.artifact}")
        side.write_settings(body.settings(desired, found.settings, self._sticky(side.app), {}))
        return Waiting(why=f"{desired.name} restarts with its new settings", seconds=STEP_SECONDS)

    def _create(
        self,
        side: Side,
        desired: Desired,
        shared: Mapping[str, str],
        sticky: frozenset[str],
        labels: Mapping[str, str],
        log: Log,
    ) -> Progress:
        log(f"{side.label}: creating it")
        options = dict(desired.known_options())
        if side.slot:
            options.pop("plan", None)
        change = body.site_change(options, body.linux_version(desired), new=True)
        values = body.settings(desired, {}, sticky, shared)
        pairs = [{"name": key, "value": value} for key, value in sorted(values.items())]
        change["properties"]["siteConfig"]["appSettings"] = pairs
        side.write(None, self._location, change, labels)
        return Waiting(why=f"{side.label} is being created", seconds=STEP_SECONDS)

    def _bring_up(self, side: Side, found: Found, desired: Desired, log: Log) -> Progress:
        """Makes the settings, the side and its package what they shall be, one after the other."""
        values = body.settings(desired, found.settings, self._sticky(side.app), {})
        if values != found.settings:
            side.write_settings(values)
            return Waiting(why=f"{side.label} restarts with its new settings", seconds=STEP_SECONDS)
        options = dict(desired.known_options())
        if side.slot:
            options.pop("plan", None)
        if _differs(found, options) or found.config.linux_fx_version != body.linux_version(desired):
            side.write(
                found.site,
                self._location,
                body.site_change(options, body.linux_version(desired), new=False),
                {},
            )
            return Waiting(why=f"{side.label} is being configured", seconds=STEP_SECONDS)
        if desired.package is None:
            return self._healthy(side, found, None, str(options.get("health_path") or ""))
        text = body.message(desired.artifact, desired.attempt)
        sent = self._sent(side, found, desired.package, text, log)
        return (
            sent
            if isinstance(sent, Waiting)
            else self._healthy(side, found, sent, str(options.get("health_path") or ""))
        )

    def _sent(self, side: Side, found: Found, package: bytes, text: str, log: Log) -> Deployment | Waiting:
        """The deployment with that message, once it is in place; it is sent if nobody has sent it yet."""
        sent = found.sent(text)
        if sent is None:
            log(f"{side.label}: sending {len(package)} bytes")
            side.kudu(found.site).push(package, text)
            return Waiting(why=f"{side.label} unpacks the package", seconds=STEP_SECONDS)
        if sent.status == FAILED:
            raise DeployFailed(
                f"{side.label}: deployment {sent.id} failed: {side.kudu(found.site).why(sent)}"
            )
        if not sent.complete:
            return Waiting(why=f"{side.label} unpacks the package", seconds=STEP_SECONDS)
        if not sent.active:
            raise StaleError(f"{side.label}: another package was deployed over this one; plan again")
        return sent

    def _healthy(self, side: Side, found: Found, sent: Deployment | None, path: str) -> Progress:
        """Ready once the functions are loaded and the side answers."""
        functions = side.functions()
        host = found.site.default_host_name
        status = ask(f"https://{host}", Smoke(path=path or "/", timeout=10.0)).status
        limit = 400 if path else 500
        if functions and 0 < status < limit:
            details = {"url": f"https://{host}", "functions": ", ".join(functions)}
            return Ready(version=found.version, details=details)
        what = (
            f"its {path or 'front page'} answers {status or 'nothing'}"
            if functions
            else "it loads no function"
        )
        if sent is not None:
            kudu = side.kudu(found.site)
            kudu.deployments()
            if kudu.age(sent) > self._health_seconds:
                raise DeployFailed(f"{side.label} does not serve after {self._health_seconds:g} s: {what}")
        return Waiting(why=f"{side.label}: {what}", seconds=STEP_SECONDS)

    def _as_stamped(
        self,
        production: Side,
        found: Found,
        content: Found,
        log: Log,
        *,
        tagged: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> Waiting | None:
        """None once production has what a swap leaves behind as the version of ``content`` needs it."""
        wanted = options if options is not None else content.made.get("options") or {}
        stays = {key: value for key, value in wanted.items() if key in body.STAYS}
        made = content.made
        labels = tags(str(made.get("revision") or ""), str(content.artifact or "")) if tagged and made else {}
        there = found.site.tags or {}
        if not _differs(found, stays) and all(there.get(key) == value for key, value in labels.items()):
            return None
        log(
            f"{production.label}: setting {', '.join(sorted(stays)) or 'its tags'} as {content.version} needs them"
        )
        production.write(found.site, self._location, body.site_change(stays, None, new=False), labels)
        return Waiting(why=f"{production.label} is being configured", seconds=STEP_SECONDS)

    def _serves(self, production: Side, found: Found) -> Progress:
        path = str(found.options.get("health_path") or "")
        progress = self._healthy(production, found, None, path)
        return (
            progress
            if isinstance(progress, Waiting)
            else Ready(version=found.version, details=progress.details)
        )

    def _swap(self, name: str, slot: Side, log: Log) -> Progress:
        log(f"{name}: swapping slot {slot.slot} with production")
        wanted = {"targetSlot": slot.slot, "preserveVnet": True}
        with calling(f"swapping {slot.label} with production"):
            self._apps.begin_swap_slot_with_production(self._group, name, wanted, polling=False, **ONCE)
        return Waiting(why=f"{name}: slot {slot.slot} is being swapped with production", seconds=STEP_SECONDS)

    def _put_back(
        self, side: Side, found: Found, note: Mapping[str, Any], previous: Observed, log: Log
    ) -> Progress:
        """Package, site, and last the settings: as soon as those are back, so is the stamp of before."""
        version = found.version
        if found.image is None and note["version"] and version != note["version"]:
            text = body.message(note["artifact"], f"put-back-{note['attempt']}")
            package = None if found.sent(text) else self._package(side.app, note["package"])
            sent = self._sent(side, found, package or b"", text, log)
            if isinstance(sent, Waiting):
                return sent
            version = sent.id
        if found.config.linux_fx_version != note["runs"] or _differs(found, note["options"]):
            side.write(
                found.site, self._location, body.site_change(note["options"], note["runs"], new=False), {}
            )
            return Waiting(why=f"{side.label} is being configured", seconds=STEP_SECONDS)
        if found.settings != note["settings"]:
            log(f"{side.label}: putting back its settings")
            side.write_settings(note["settings"])
            return Waiting(why=f"{side.label} restarts with its settings of before", seconds=STEP_SECONDS)
        if not note["version"]:
            return Ready(version=version)
        progress = self._healthy(side, found, None, str(note["options"].get("health_path") or ""))
        return progress if isinstance(progress, Waiting) else Ready(version=version)

    def _remove_new(self, side: Side, log: Log) -> Progress:
        site = side.site()
        if site is None:
            return Ready(version="")
        found = self._look(side, site)
        if not found.made:
            raise StaleError(
                f"{side.label}: somebody else made this function app meanwhile; it is left alone"
            )
        log(f"{side.label}: removing the app that this deployment made")
        return self.delete(side.app)

    def _clean(self, name: str, log: Log) -> Waiting | None:
        """None once no slot of ours holds a version that failed or has been replaced."""
        for slot in self._slots(name):
            site = slot.site()
            if site is not None and (site.tags or {}).get(MADE_TAG) == "made":
                log(f"{slot.label}: removing it")
                slot.remove()
                return Waiting(why=f"{slot.label} is being removed", seconds=STEP_SECONDS)
        return None

    def _note(self, side: Side) -> dict[str, Any]:
        found = json.loads(side.metadata().get(BEFORE) or "{}")
        return dict(found) if isinstance(found, dict) else {}

    def _noted(self, side: Side, attempt: str) -> bool:
        return self._note(side).get("attempt") == attempt

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
        if self._packages is not None and found.artifact is not None:
            try:
                self._packages(found.artifact)
            except RefusedError:
                pass  # deployed by another installation: take it from where it runs
            else:
                return found.artifact
        if self._keep is None:
            raise InputError(
                f"{side.label}: there is no slot to deploy to, and no store to keep what serves in"
            )
        package = side.kudu(found.site).download()
        self._keep(package)
        return digest(package)

    def _package(self, name: str, wanted: str) -> bytes:
        if self._packages is None:
            raise InputError(f"{name}: there is no store to take {wanted} from; deploy it by hand")
        return self._packages(wanted)

    def _observed(self, name: str, found: Found) -> Observed:
        return Observed(
            version=found.version,
            artifact=found.artifact,
            config=found.made.get("config"),
            environment=body.environment_of(found.settings, self._sticky(name)),
            options=found.options,
        )

    def _idle(self, production: Side) -> Found | Waiting:
        """What production holds, once no swap is under way: that is looked at first, so no swap is begun twice."""
        site = production.site()
        if site is None:
            raise DeployFailed(f"{production.label}: the function app is gone")
        if site.in_progress_operation_id:
            return Waiting(why=f"{production.label} is being swapped", seconds=STEP_SECONDS)
        return self._look(production, site)

    def _look(self, side: Side, site: Any) -> Found:
        found = side.look(site)
        assert found is not None
        return found

    def _where(self, name: str, version: str) -> tuple[Side, Found]:
        side = self._side(name)
        found = side.look()
        if found is not None and found.version == version:
            return side, found
        held = self._holding(name, version) if found is not None else None
        if held is None:
            raise InputError(f"{name}: neither production nor a slot holds {version}")
        return held

    def _holding(self, name: str, version: str) -> tuple[Side, Found] | None:
        looks = ((slot, slot.look()) for slot in self._slots(name))
        return next(((slot, found) for slot, found in looks if found and found.version == version), None)

    def _slots(self, name: str) -> list[Side]:
        with calling(f"reading the slots of {name}"):
            found = list(self._apps.list_slots(self._group, name, **ONCE))
        return [self._side(name, str(item.name).rpartition("/")[2]) for item in found]

    def _sticky(self, name: str) -> frozenset[str]:
        """The settings that stay with production in a swap."""
        with calling(f"reading the slot settings of {name}"):
            found = self._apps.list_slot_configuration_names(self._group, name, **ONCE)
        return frozenset((found.properties.app_setting_names if found.properties else None) or ())

    def _side(self, name: str, slot: str = "") -> Side:
        return Side(self._apps, self._group, name, slot, self._token)


def _differs(found: Found, options: Mapping[str, Any]) -> bool:
    """Whether a side is not yet as ``options`` say; what they do not name does not count."""
    own = body.options_of(found.site, found.config, {"options": dict(options)})
    names = (key for key in options if key not in ("runtime", "slot", "auth_level"))
    return any((own.get(key) or None) != (options[key] or None) for key in names)
