"""Azure Container Apps: a revision is brought up beside the one that serves, and traffic weights move over to it.

An app has two kinds of settings. Image, environment, size, scale and probes belong to a revision and never change.
Ingress, identities, registry logins and secrets belong to the app: what a new revision needs is added before it is
made, and nothing that revisions of before use is taken away. ``port`` and ``ingress`` change when the traffic moves.
What a deployment leaves on a revision is in the environment variable ``TRIPLANE_STAMP`` of its container, because
revisions have no tags.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from triplane.core.errors import InputError, StaleError
from triplane.serverless.azure import container_app_body as body
from triplane.serverless.azure.calls import (
    ONCE,
    ask,
    calling,
    found_or_none,
    identities,
    identity_body,
    list_of,
    serving,
    stepwise,
    word,
)
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


class ContainerApps:
    """Container apps of one resource group.

    ``client`` is an ``azure.mgmt.appcontainers.ContainerAppsAPIClient``. Options: ``managed_environment`` (resource id
    of the Container Apps environment, required), ``port`` (that the container listens on, 80 by default), ``cpu``
    (cores: 0.25, 0.5, ...), ``memory`` (``0.5Gi``; on the consumption plan twice the cores), ``min_replicas``,
    ``max_replicas``, ``concurrency`` (requests a replica takes before another one is started), ``ingress``
    (``external``, ``internal`` or ``none``; external by default), ``identity`` (list of resource ids of managed
    identities, or ``system``; the first reads secrets), ``registry_identity`` (which of them pulls the image),
    ``health_path`` (asked by the liveness and readiness probes). An environment value ``keyvault://VAULT/NAME`` or
    ``keyvault://VAULT/NAME/VERSION`` is read by Container Apps from Key Vault. An app without ingress has no traffic:
    its oldest active revision counts as the one that serves, and a shift to 100 percent stops the others.
    """

    options = body.OPTIONS
    runs: frozenset[Kind] = frozenset({"image"})
    splits = True
    apart = True

    def __init__(self, client: Any, *, resource_group: str, location: str) -> None:
        self._apps = client.container_apps
        self._revisions = client.container_apps_revisions
        self._group = resource_group
        self._location = location

    def observe(self, name: str) -> Observed | None:
        """The revision that serves (``a=90,b=10`` where traffic is split), and what it was made from."""
        app = self._app(name)
        return None if app is None else self._observed(name, app)

    @stepwise
    def prepare(self, desired: Desired, previous: Observed | None, log: Log) -> Progress:
        """Makes the revision ``<app>--t<attempt>``, and waits until it runs."""
        body.check(desired)
        name = desired.name
        version = f"{name}--{body.suffix(desired.attempt)}"
        app = self._app(name)
        if app is None:
            if previous is not None:
                raise StaleError(f"{name}: the app is gone; plan again")
            log(f"{name}: creating the container app with {desired.artifact}")
            self._create(desired)
            return Waiting(why=f"{name} is being created", seconds=STEP_SECONDS)
        if busy := _busy(name, app):
            return busy
        revision = self._revision(name, version)
        if revision is not None:
            return self._coming_up(name, app, revision, log)
        ours = app.properties.template is not None and app.properties.template.revision_suffix == body.suffix(
            desired.attempt
        )
        if ours and word(app.properties.provisioning_state) == "Failed":
            raise DeployFailed(
                f"{name}: Container Apps made no revision {version}; the app's activity log says why"
            )
        if ours:
            return Waiting(why=f"revision {version} is being made", seconds=STEP_SECONDS)
        serving(name, self._observed(name, app), previous)
        log(f"{name}: bringing up {desired.artifact} without traffic; {_told(previous)} serves")
        self._patch(name, self._update(desired, app, previous))
        return Waiting(why=f"revision {version} is being made", seconds=STEP_SECONDS)

    @stepwise
    def shift(self, name: str, version: str, percent: int, previous: Observed | None, log: Log) -> Progress:
        """Sets the traffic weights; at 100 percent, the revisions that served before are stopped and kept."""
        app = self._existing(name)
        if busy := _busy(name, app):
            return busy
        revision = self._revision(name, version)
        if revision is None:
            raise DeployFailed(f"{name}: revision {version} is gone")
        made = body.stamp_of(revision.properties.template)
        before = body.shares_of(previous.version if previous else "")
        strangers = sorted(set(body.weights(app.properties)) - {version, *before})
        if strangers:
            raise StaleError(f"{name}: {', '.join(strangers)} has traffic; somebody else deploys; plan again")
        wanted = {version: 100}
        if percent < 100 and before:
            wanted = {version: percent, max(before, key=lambda each: before[each]): 100 - percent}
        options = made.get("options") or self._observed(name, app).options
        change = self._moved(app, wanted, options)
        labels = body.app_tags(app.tags, made)
        if percent == 100 and labels != dict(app.tags or {}):
            change["tags"] = labels
        if change:
            self._patch(name, change)
            return Waiting(why=f"{name} gives {version} {percent} % of the traffic", seconds=STEP_SECONDS)
        if percent == 100:
            self._stop_others(name, {version}, log, also=before)
        url = app.properties.configuration.ingress
        return Ready(version=version, details={"url": f"https://{url.fqdn}"} if url and url.fqdn else {})

    def verify(self, desired: Desired, version: str) -> None:
        """Reads back that the revision serves alone, and its image."""
        observed = self.observe(desired.name)
        if observed is None or observed.version != version:
            raise DeployFailed(f"{desired.name}: {_told(observed)} serves, not {version}")
        if (observed.artifact, observed.config) != (desired.artifact, desired.config):
            raise DeployFailed(f"{desired.name}: {version} runs {observed.artifact}, not {desired.artifact}")

    @stepwise
    def restore(self, name: str, previous: Observed | None, log: Log) -> Progress:
        """Gives the traffic back, and stops what does not serve; without ``previous``, deletes the app."""
        app = self._app(name)
        if previous is None:
            return self._remove(name, app, log)
        if app is None:
            raise DeployFailed(f"{name}: the container app is gone")
        if busy := _busy(name, app):
            return busy
        wanted = body.shares_of(previous.version)
        for version in wanted:
            if waiting := self._running(name, version, log):
                return waiting
        change = self._moved(app, wanted, previous.options) if wanted else {}
        if change:
            log(f"{name}: giving the traffic back to {previous.version}")
            self._patch(name, change)
            return Waiting(why=f"{name} gives the traffic back", seconds=STEP_SECONDS)
        self._stop_others(name, set(wanted), log)
        return Ready(version=previous.version)

    def invoke(self, name: str, version: str, smoke: Smoke) -> Answer:
        """Asks the revision by its own host name; an internal one answers inside its network only."""
        revision = self._revision(name, version)
        host = revision.properties.fqdn if revision is not None else None
        if not host:
            raise InputError(
                f"{name}: {version} has no ingress, so it cannot be asked; leave out the smoke test"
            )
        return ask(f"https://{host}", smoke)

    def tail(self, name: str, version: str) -> Sequence[str]:
        """Why the revision did not come up; what its container writes goes to the environment's log store."""
        app = self._app(name)
        if app is None:
            return ()
        revision = self._revision(name, version or str(app.properties.latest_revision_name or ""))
        if revision is None:
            return ()
        found = revision.properties
        states = (found.provisioning_state, found.running_state, found.health_state)
        lines = [f"{revision.name}: {', '.join(word(state) for state in states)}"]
        return (*lines, *str(found.provisioning_error or "").splitlines())

    @stepwise
    def delete(self, name: str) -> Progress:
        """Deletes the app with its revisions; its environment stays, other apps may run in it."""
        app = self._app(name)
        if app is None:
            return Ready(version="")
        if word(app.properties.provisioning_state) != "Deleting":
            with calling(f"removing {name}"):
                self._apps.begin_delete(self._group, name, polling=False, **ONCE)
        return Waiting(why=f"{name} is being deleted", seconds=STEP_SECONDS)

    def _remove(self, name: str, app: Any, log: Log) -> Progress:
        if app is None:
            return Ready(version="")
        if not body.stamp_of(app.properties.template):
            raise StaleError(f"{name}: somebody else made this container app meanwhile; it is left alone")
        log(f"{name}: removing the container app that this deployment made")
        return self.delete(name)

    def _create(self, desired: Desired) -> None:
        options = desired.known_options()
        configuration: dict[str, Any] = {
            "activeRevisionsMode": "Multiple",
            "secrets": body.secrets(desired),
            "registries": body.registries(desired),
        }
        if entry := body.ingress(options):
            configuration["ingress"] = {**entry, "traffic": [{"latestRevision": True, "weight": 100}]}
        envelope = {
            "location": self._location,
            "identity": identity_body(list_of(options.get("identity"))),
            "properties": {
                "environmentId": options["managed_environment"],
                "configuration": configuration,
                "template": body.template(desired),
            },
        }
        with calling(f"creating {desired.name}"):
            self._apps.begin_create_or_update(self._group, desired.name, envelope, polling=False, **ONCE)

    def _update(self, desired: Desired, app: Any, previous: Observed | None) -> dict[str, Any]:
        """What makes the new revision, and pins the traffic where it is."""
        configuration: dict[str, Any] = {"activeRevisionsMode": "Multiple"}
        ingress = app.properties.configuration.ingress
        shares = body.shares_of(previous.version if previous else "")
        if ingress is not None and shares:
            configuration["ingress"] = {"traffic": body.traffic(shares)}
        if secrets := body.secrets(desired):
            configuration["secrets"] = body.merged(self._secrets(desired.name), secrets, "name")
        if registries := body.registries(desired):
            old = [item.as_dict() for item in app.properties.configuration.registries or ()]
            configuration["registries"] = body.merged(old, registries, "server")
        change: dict[str, Any] = {
            "properties": {"configuration": configuration, "template": body.template(desired)}
        }
        known = identities(app.identity)
        added = [item for item in list_of(desired.known_options().get("identity")) if not _among(item, known)]
        return change | ({"identity": identity_body([*known, *added])} if added else {})

    def _secrets(self, name: str) -> list[Mapping[str, Any]]:
        """The app's secrets with their values: they are replaced as a whole."""
        with calling(f"reading the secrets of {name}"):
            found = self._apps.list_secrets(self._group, name, **ONCE)
        keys = ("name", "value", "identity", "keyVaultUrl")
        return [
            {key: item.as_dict().get(key) for key in keys if item.as_dict().get(key)} for item in found.value
        ]

    def _moved(self, app: Any, wanted: Mapping[str, int], options: Mapping[str, Any]) -> dict[str, Any]:
        """The change that gives the traffic as ``wanted``, through an ingress as ``options`` say; empty if it is so."""
        now, shall = app.properties.configuration.ingress, body.ingress(options)
        if shall is None:
            return {} if now is None else {"properties": {"configuration": {"ingress": None}}}
        same = now is not None and (now.external, now.target_port) == (shall["external"], shall["targetPort"])
        if same and body.named(app.properties) and body.weights(app.properties) == dict(wanted):
            return {}
        entry = {**({} if same else shall), "traffic": body.traffic(wanted)}
        return {"properties": {"configuration": {"activeRevisionsMode": "Multiple", "ingress": entry}}}

    def _coming_up(self, name: str, app: Any, revision: Any, log: Log) -> Progress:
        if waiting := _state(revision) or self._running(name, revision.name, log):
            return waiting
        host = revision.properties.fqdn
        return Ready(version=revision.name, details={"revision": f"https://{host}"} if host else {})

    def _running(self, name: str, version: str, log: Log) -> Waiting | None:
        """None once the revision runs; starts one that was stopped."""
        revision = self._revision(name, version)
        if revision is None:
            raise DeployFailed(f"{name}: revision {version} is gone")
        if not revision.properties.active:
            log(f"{name}: starting {version} again")
            with calling(f"starting {version}"):
                self._revisions.activate_revision(self._group, name, version, **ONCE)
            return Waiting(why=f"{version} is being started", seconds=STEP_SECONDS)
        return _state(revision)

    def _stop_others(self, name: str, wanted: set[str], log: Log, also: Collection[str] = ()) -> None:
        """Stops all revisions of ours, and ``also``, but those; they are kept, and can be started again."""
        for revision in self._active(name):
            ours = revision.name in also or body.stamp_of(revision.properties.template)
            if ours and revision.name not in wanted:
                log(f"{name}: stopping {revision.name}, which has no traffic")
                with calling(f"stopping {revision.name}"):
                    self._revisions.deactivate_revision(self._group, name, revision.name, **ONCE)

    def _observed(self, name: str, app: Any) -> Observed:
        shares = body.weights(app.properties)
        if app.properties.configuration.ingress is None:
            oldest = sorted(self._active(name), key=lambda each: str(each.properties.created_time))
            shares = {oldest[0].name: 100} if oldest else {}
        if not shares:
            return Observed(version="")
        revision = self._revision(name, max(shares, key=lambda each: shares[each]))
        if revision is None:
            return Observed(version=body.version_of(shares))
        found = revision.properties.template
        made = body.stamp_of(found)
        return Observed(
            version=body.version_of(shares),
            artifact=found.containers[0].image,
            config=made.get("config"),
            environment=body.environment_of(found, app.properties.configuration.secrets),
            options=body.options_of(app.properties, app, found),
        )

    def _patch(self, name: str, change: Mapping[str, Any]) -> None:
        with calling(f"updating {name}"):
            self._apps.begin_update(self._group, name, change, polling=False, **ONCE)

    def _active(self, name: str) -> list[Any]:
        with calling(f"reading the revisions of {name}"):
            found = list(self._revisions.list_revisions(self._group, name, **ONCE))
        return [item for item in found if item.properties.active]

    def _revision(self, name: str, version: str) -> Any:
        if not version:
            return None
        read = self._revisions.get_revision
        return found_or_none(f"reading {version}", lambda: read(self._group, name, version, **ONCE))

    def _app(self, name: str) -> Any:
        return found_or_none(f"reading {name}", lambda: self._apps.get(self._group, name, **ONCE))

    def _existing(self, name: str) -> Any:
        app = self._app(name)
        if app is None:
            raise DeployFailed(f"{name}: the container app is gone")
        return app


def _busy(name: str, app: Any) -> Waiting | None:
    state = word(app.properties.provisioning_state)
    if state in ("InProgress", "Deleting"):
        return Waiting(why=f"{name}: {state}", seconds=STEP_SECONDS)
    return None


def _state(revision: Any) -> Waiting | None:
    """None once a revision runs.

    :raises DeployFailed: it failed
    """
    found = revision.properties
    provisioning, running = word(found.provisioning_state), word(found.running_state)
    if "Failed" in (provisioning, running):
        raise DeployFailed(
            f"revision {revision.name} failed: {found.provisioning_error or 'its container ends'}"
        )
    if provisioning == "Provisioned" and (running.startswith("Running") or running == "ScaledToZero"):
        return None
    if not found.active:
        return None
    return Waiting(why=f"revision {revision.name} is {provisioning}, {running}", seconds=STEP_SECONDS)


def _told(observed: Observed | None) -> str:
    return (observed.version if observed else "") or "nothing"


def _among(item: str, known: Sequence[str]) -> bool:
    return item.lower() in {each.lower() for each in known}
