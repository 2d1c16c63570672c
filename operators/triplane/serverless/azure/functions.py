"""Azure Functions: a package or image is brought up in a deployment slot, then the slot is swapped with production.

What a deployment leaves behind must move with its content. Tags belong to a site or slot and stay there in a swap,
application settings move: so whose a side is, and how it was written, is in the setting ``TRIPLANE_STAMP``, and the
attempt and the digest of a package are in the message of its deployment, which is part of the content too. Tags only
tell people what serves. The slot then holds what served before, so a swap takes a deployment back.

A swap leaves identities, the network, TLS and access restrictions where they are: production gets those of the new
version just before the swap.

A slot runs timers and queue triggers as production does, both before a swap and after it. Who does not want that
switches them off in the slot: ``AzureWebJobs.<function>.Disabled`` as a slot setting. For triggers that
:mod:`.event_hubs` configures this is done here; their settings are not part of the function's environment.

Where there are no slots, production is deployed to in place. What has to be put back if that fails is noted in the
app's ``metadata`` beforehand: the settings of before may hold secrets, and there only who may read settings reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from triplane.core.errors import InputError, StaleError, TerminalError, TriplaneError
from triplane.serverless.azure import function_app_body as body
from triplane.serverless.azure import stream_settings
from triplane.serverless.azure.calls import ONCE, ask, calling, serving, stepwise, tags
from triplane.serverless.azure.function_in_place import InPlace
from triplane.serverless.azure.function_rollout import STEP_SECONDS, Rollout, differs
from triplane.serverless.azure.function_side import Found, Side
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

MADE_TAG: Final = "triplane-slot"
# What it means that these are not among the options of what served before.
UNSET: Final[Mapping[str, Any]] = {"health_path": "", "identity": [], "allow": [], "vnet_subnet": ""}


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
    apart = True

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
        self._rollout = Rollout(location=location, health_seconds=health_seconds)
        self._in_place = InPlace(rollout=self._rollout, packages=packages, keep=keep)

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
            return self._rollout.create(side, desired, {}, frozenset(), {}, log)
        found = self._look(side, site)
        if found.attempt == desired.attempt:
            return self._rollout.bring_up(side, found, desired, self._sticky(name), log)
        serving(name, self._observed(name, found), previous)
        slot = str(desired.known_options().get("slot") or body.SLOT)
        if slot != "none" and not self._in_place.noted(side, desired.attempt):
            try:
                return self._in_slot(name, slot, found, desired, log)
            except TerminalError as error:
                if "number of slots" not in str(error):
                    raise
                log(f"{name}: its plan allows no further slot, deploying in place")
        return self._in_place.take_over(side, found, desired, self._sticky(name), log)

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
        note = self._in_place.note(production)
        again = f"put-back-{note.get('attempt')}"
        if note.get("version") == previous.version and (
            found.attempt == note["attempt"] or found.sent(body.message(previous.artifact, again))
        ):
            return self._in_place.put_back(production, found, note, previous, log)
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
        streams = stream_settings.off(production.settings)
        if loose := sorted(streams.keys() - sticky):
            log(f"{name}: making {', '.join(loose)} slot settings")
            self._side(name).stick(loose)
            sticky |= set(loose)
        if site is None:
            shared = {key: value for key, value in production.settings.items() if key not in sticky}
            return self._rollout.create(
                side, desired, shared, sticky, {MADE_TAG: "made"}, log, streams=streams
            )
        found = self._look(side, site)
        if found.attempt != desired.attempt:
            log(f"{side.label}: configuring it for {desired.artifact}")
        return self._rollout.bring_up(side, found, desired, sticky, log, streams=streams)

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
        if not differs(found, stays) and all(there.get(key) == value for key, value in labels.items()):
            return None
        log(
            f"{production.label}: setting {', '.join(sorted(stays)) or 'its tags'} as {content.version} needs them"
        )
        production.write(found.site, self._rollout.location, body.site_change(stays, None, new=False), labels)
        return Waiting(why=f"{production.label} is being configured", seconds=STEP_SECONDS)

    def _serves(self, production: Side, found: Found) -> Progress:
        path = str(found.options.get("health_path") or "")
        progress = self._rollout.healthy(production, found, None, path)
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
