"""The command line of Terraform (1.9 or newer) and OpenTofu, and the environment that it runs in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from triplane.core.process import tool_env

PASSED = ("TF_CLI_CONFIG_FILE", "TF_REATTACH_PROVIDERS", "TF_PLUGIN_CACHE_DIR", "TF_ENCRYPTION")
SHARE_CACHE = "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE"
"""Without it, an init without a lock file writes a cached provider anew, under those who run it."""
_CACHE_DIR = re.compile(r'^\s*plugin_cache_dir\s*=\s*"([^"]+)"', re.MULTILINE)

Args = tuple[str, ...]


def init_args(backend_config: Path | None = None) -> Args:
    """``terraform init``; ``backend_config`` is a private JSON file."""
    config = () if backend_config is None else (f"-backend-config={backend_config}",)
    return ("init", "-json", "-no-color", "-input=false", *config)


def plan_args(
    *,
    out: Path,
    var_file: Path | None = None,
    lock_timeout: float,
    destroy: bool = False,
) -> Args:
    """``terraform plan`` into ``out``; return code 2 means changes."""
    return (
        *("plan", "-json", "-input=false", "-detailed-exitcode"),
        f"-lock-timeout={lock_timeout:g}s",
        *(() if var_file is None else (f"-var-file={var_file}",)),
        *(("-destroy",) if destroy else ()),
        f"-out={out}",
    )


def show_args(plan: Path) -> Args:
    """``terraform show`` of a saved plan. The output holds secrets in the clear."""
    return ("show", "-json", str(plan))


def apply_args(plan: Path, *, lock_timeout: float) -> Args:
    """``terraform apply`` of a saved plan, and of nothing else."""
    return ("apply", "-json", "-input=false", f"-lock-timeout={lock_timeout:g}s", str(plan))


def force_unlock_args(lock_id: str) -> Args:
    """``terraform force-unlock``: refused by the backend unless ``lock_id`` is the lock that is there."""
    return ("force-unlock", "-force", "-no-color", lock_id)


def pull_args() -> Args:
    """``terraform state pull``. The output holds secrets in the clear."""
    return ("state", "pull")


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Terraform's environment, credentials apart: secret ``variables`` are ``TF_VAR_*``."""
    secret = {f"TF_VAR_{name}": value for name, value in variables.items()}
    return tool_env(*PASSED, **{SHARE_CACHE: "1"}, TF_IN_AUTOMATION="1", CHECKPOINT_DISABLE="1", **secret)


def plugin_cache(env: Mapping[str, str]) -> Path | None:
    """Terraform's plugin cache, as its environment or its configuration file names it."""
    if cache := env.get("TF_PLUGIN_CACHE_DIR"):
        return Path(cache)
    config = Path(env.get("TF_CLI_CONFIG_FILE") or Path.home() / ".terraformrc")
    found = _CACHE_DIR.search(config.read_text()) if config.is_file() else None
    return Path(os.path.expandvars(found[1])).expanduser() if found else None
