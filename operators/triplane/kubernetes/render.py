"""What a chart renders for one release, and how far that stays the same."""

from __future__ import annotations

import json
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from triplane.core.errors import InputError, ToolError
from triplane.core.process import Command, run
from triplane.kubernetes.diff import Key, Object, digest_objects, objects
from triplane.kubernetes.helm import Helm, Upgrade
from triplane.kubernetes.kubectl import kubectl_env

NOT_RENDERED = re.compile(r"no matches for kind|ensure CRDs are installed|another operation .* in progress")
"""The cluster cannot take part: a CRD of the chart is not there yet, or the release is ``pending``."""
BAD_VALUES = re.compile(r"values don't meet the specifications of the schema\(s\)[^:]*:\s*(.*)", re.S)
_VOLATILE = re.compile(
    r"\{\{[^}]*\b(?:rand(?:AlphaNum|Alpha|Numeric|Ascii|Bytes|Int)|shuffle|uuidv4|now|ago|htpasswd|bcrypt|encryptAES"
    r"|getHostByName|gen(?:CA|SelfSignedCert|SignedCert|PrivateKey)(?:WithKey)?)\b"
)
_REVISION = re.compile(r"\{\{[^}]*\.Release\.Revision\b")
SECONDS_APART = 1.1


@dataclass(frozen=True)
class Rendered:
    """The objects of a release, hooks included.

    ``unstable`` are those that come out different each time: random values, or the time. ``bound`` is false if
    not even the names stay, or if the number of the revision is part of them.
    """

    objects: Mapping[Key, Object]
    unstable: tuple[str, ...] = ()
    bound: bool = True

    @property
    def binds(self) -> dict[str, str | int]:
        """What an approval covers of it."""
        if not self.bound:
            return {}
        except_for = {"manifests_except": ", ".join(self.unstable)} if self.unstable else {}
        return {"manifests": digest_but(self.objects, self.unstable), **except_for}


def digest_but(found: Mapping[Key, Object], unstable: tuple[str, ...]) -> str:
    """Digest of the objects without the ``unstable`` ones."""
    return digest_objects({key: item for key, item in found.items() if str(key) not in unstable})


def render(helm: Helm, upgrade: Upgrade, *, exists: bool, kubectl: str = "kubectl") -> dict[Key, Object]:
    """What an upgrade would consist of, as Helm renders it with the cluster's help.

    Where the cluster cannot take part, because a CRD of the chart is not there yet or the release is
    ``pending``, the chart is rendered alone, for the cluster's version and APIs; ``lookup`` finds nothing then.

    :raises InputError: the values do not fit the chart's schema, or what it renders is no Kubernetes object
    :raises ToolError: the chart cannot be rendered
    """
    namespace = upgrade.release.namespace
    try:
        answer = helm.dry_run(upgrade)
        parts = [answer["manifest"], *(hook["manifest"] for hook in answer.get("hooks") or [])]
        return objects("\n---\n".join(parts), namespace)
    except ToolError as error:
        if match := BAD_VALUES.search(error.stderr):
            said = "; ".join(line.strip() for line in match[1].splitlines() if line.strip())
            raise InputError(
                f"the values do not fit the schema of the chart: {said}; change the values"
            ) from error
        if not NOT_RENDERED.search(error.stderr):
            raise
    version, apis = _cluster(helm.kubeconfig, kubectl)
    return objects(helm.template(upgrade, exists=exists, version=version, apis=apis), namespace)


def render_to_approve(chart: Path, once: Callable[[], dict[Key, Object]]) -> Rendered:
    """What a chart renders, and which of it stays the same: a chart that makes up values is rendered twice."""
    templates = [*_templates(chart)]
    first = once()
    bound = not any(_REVISION.search(text) for text in templates)
    if not any(_VOLATILE.search(text) for text in templates):
        return Rendered(first, bound=bound)
    time.sleep(SECONDS_APART)
    second = once()
    if first.keys() != second.keys():
        return Rendered(first, bound=False)
    differ = (key for key in first if digest_objects({key: first[key]}) != digest_objects({key: second[key]}))
    return Rendered(first, tuple(sorted(str(key) for key in differ)), bound)


def _cluster(kubeconfig: Path, kubectl: str) -> tuple[str, list[str]]:
    """The cluster's version, and the groups and versions of its APIs."""
    env = kubectl_env(kubeconfig)

    def ask(*args: str) -> str:
        return run(Command(argv=(kubectl, *args, "--request-timeout", "30s"), env=env), timeout=60).stdout

    version = json.loads(ask("version", "--output", "json"))["serverVersion"]["gitVersion"]
    return version, ask("api-versions").split()


def _templates(chart: Path) -> Iterator[str]:
    """Every template of a chart and of its subcharts, packed ones too."""
    for path in sorted(chart.rglob("*")):
        inside = path.relative_to(chart)
        if "templates" in inside.parts[:-1] and path.is_file():
            yield path.read_text("utf-8", "replace")
        elif path.suffix == ".tgz" and "charts" in inside.parts[:-1]:
            with tarfile.open(path) as archive:
                for member in archive:
                    if "/templates/" in member.name and (file := archive.extractfile(member)):
                        yield file.read().decode("utf-8", "replace")
