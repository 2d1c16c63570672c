"""One stack, opened in a private working copy: initialize, plan, keep the plan, find it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triplane.core.change import Action, ComponentChange, Risk
from triplane.core.digest import digest, digest_tree
from triplane.core.errors import RefusedError
from triplane.core.process import private_dir, write_private
from triplane.core.store import ArtifactStore
from triplane.terraform import risk as risks
from triplane.terraform import workspace
from triplane.terraform.backends import BackendConfig
from triplane.terraform.cli import Terraform
from triplane.terraform.drift import refreshed
from triplane.terraform.plan import Plan, State, parse_plan, planned_state
from triplane.terraform.policy import Verdict, evaluate
from triplane.terraform.warm import slot


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A fresh saved plan at ``path``, and the state that it starts from."""

    path: Path
    plan: Plan
    state: State
    changed: bool
    verdict: Verdict = field(default_factory=Verdict)
    """What the user's own policies say of it."""

    @property
    def risk(self) -> Risk:
        """A change that Terraform sees and the plan's JSON does not show is low."""
        return max(risks.risk(self.plan), self.verdict.risk, Risk.LOW) if self.changed else Risk.NONE

    @property
    def action(self) -> Action:
        """One word."""
        return "update" if self._moves else self.plan.action if self.changed else "none"

    @property
    def summary(self) -> str:
        """One line."""
        return "only addresses in the state to change" if self._moves else self.plan.summary()

    @property
    def _moves(self) -> bool:
        return self.changed and self.plan.action == "none"


@dataclass(frozen=True)
class Stack:
    """An initialized working copy. ``files`` is a private directory outside of it, ``policies`` a folder of
    Rego files.
    """

    terraform: Terraform
    files: Path
    policies: Path | None = None

    @property
    def directory(self) -> Path:
        """Where Terraform runs."""
        return self.terraform.directory

    def make_plan(self, variables: Mapping[str, Any], *, destroy: bool = False) -> Planned:
        """Plan with ``variables``; secret ones are in the environment already."""
        path = self.files / "new.tfplan"
        changed = self.terraform.plan(path, self._var_file(variables), destroy=destroy)
        path.chmod(0o600)
        state = planned_state(path) or self.terraform.pull()
        if not changed:
            return Planned(path=path, plan=Plan(), state=state, changed=False)
        document = self.terraform.show(path)
        plan = parse_plan(document, self.terraform.redactor())
        return Planned(path=path, plan=plan, state=state, changed=True, verdict=self._verdict(document))

    def _var_file(self, variables: Mapping[str, Any]) -> Path:
        return write_private(self.files / "variables.tfvars.json", json.dumps(dict(variables)))

    def look(self, variables: Mapping[str, Any]) -> Plan:
        """Plan to compare code, state and real resources, without keeping the plan."""
        path = self.files / "look.tfplan"
        if not self.terraform.plan(path, self._var_file(variables)) and not refreshed(path):
            return Plan()
        return parse_plan(self.terraform.show(path), self.terraform.redactor())

    def _verdict(self, document: Mapping[str, Any]) -> Verdict:
        if self.policies is None:
            return Verdict()
        found = evaluate(document, self.policies)
        redact = self.terraform.redactor()
        return Verdict(tuple(redact(text) for text in found.denied), found.risk)

    def ceiling(self, state: State) -> Risk:
        """See :func:`triplane.terraform.risk.ceiling`."""
        return risks.ceiling(
            workspace.resource_types(self.directory, tofu=self.terraform.binary.tofu), empty=state.empty
        )

    def keep(self, planned: Planned, store: ArtifactStore) -> dict[str, str]:
        """Put the saved plan, and the providers' lock file where there is one, into the store."""
        kept = {"plan": store.put(planned.path.read_bytes())}
        lock = self.directory / workspace.LOCK_FILE
        return kept | ({"lock": store.put(lock.read_bytes())} if lock.exists() else {})

    def fetch(self, plan: str, store: ArtifactStore) -> Path:
        """A saved plan that was kept. :raises RefusedError: it is missing, or was changed"""
        return write_private(self.files / "approved.tfplan", store.get(plan))


@dataclass(frozen=True, kw_only=True)
class Source:
    """A stack's source: a folder, and the stack's place inside it.

    ``frozen`` is the digest of the frozen source that the folder was unpacked from, None for a folder of
    the user's own. ``policies`` is a folder of Rego files inside the source.
    """

    root: Path
    stack: str
    frozen: str | None = None
    policies: str | None = None

    def digest(self) -> str:
        """What an approval binds."""
        return self.frozen or digest_tree(self.root, [f"*{name}" for name in workspace.IGNORED])

    @contextmanager
    def open(
        self,
        terraform: Callable[[Path], Terraform],
        backend: BackendConfig | None,
        *,
        lock: bytes | None = None,
    ) -> Iterator[Stack]:
        """An initialized working copy, kept for the next task (see :mod:`triplane.terraform.warm`).

        ``backend`` completes the HCL's backend block. A stack of the user's own without such a block keeps
        its state beside its source, as with Terraform itself. ``lock`` pins the providers.
        """
        workspace.check(self.root, self.stack)
        place = self.frozen or [str(self.root), self.digest()]
        with private_dir() as files, slot(self.root, self.stack, [place, self.stack, backend]) as warm:
            policies = self.root / self.policies if self.policies else None
            stack = Stack(terraform(warm.directory), files, policies)
            tool = stack.terraform
            config = None
            if backend:
                config = write_private(files / "backend.json", json.dumps(backend))
            elif not workspace.has_backend(warm.directory, tofu=tool.binary.tofu):
                self._keep_state(warm.directory)
            setup = [tool.binary.identity(), tool.required_version, tool.env.get("TF_CLI_CONFIG_FILE", "")]
            if not warm.initialized(setup, lock):
                warm.forget(lock)
                tool.init(config)
                warm.stamp(setup)
            yield stack

    def _keep_state(self, directory: Path) -> None:
        if self.frozen:
            raise RefusedError(
                f"{self.stack} has no state backend, so its state would be lost; add `backend` to its HCL and "
                "`state` to its cloud in the platform spec"
            )
        workspace.keep_state_in(directory, self.root / self.stack)


def check_binds(change: ComponentChange, found: Mapping[str, str | int]) -> None:
    """:raises RefusedError: what would be applied is not what was approved; names what differs"""
    differs = sorted(name for name, value in found.items() if change.binds.get(name) != value)
    if differs:
        raise RefusedError(
            f"{' and '.join(differs)} differ{'s' if len(differs) == 1 else ''} from what was approved; nothing was applied. "
            "Run again to plan and approve this"
        )


def variables_digest(variables: Mapping[str, Any], *, destroy: bool) -> str:
    """Covers the variables as written, with their references, and whether the plan destroys."""
    return digest({"variables": dict(variables), "destroy": destroy})
