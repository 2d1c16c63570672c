"""Image references: ``registry/repository[:tag][@sha256:...]``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from triplane.core.errors import InputError

_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<registry>localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+(?=:\d))(?P<port>:\d+)?/)?"
    rf"(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
DOCKER_HUB = "docker.io"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One image in one registry; ``registry`` is a host, with a port where it has one."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """The reference that ``text`` means; a name without registry is one of Docker Hub."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise InputError(f"{text!r} is not an image reference (registry/repository:tag@sha256:...)")
        registry = f"{match['registry'] or DOCKER_HUB}{match['port'] or ''}"
        repository = match["repository"]
        if registry == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        return cls(registry=registry, repository=repository, tag=match["tag"], digest=match["digest"])

    @classmethod
    def of(cls, registry: str, image: str) -> Reference:
        """``image`` in ``registry``, a host with or without a path before the image's name."""
        host, _, path = registry.rstrip("/").partition("/")
        return cls.parse("/".join(part for part in (host, path, image) if part))

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    def at(self, digest: str) -> Reference:
        """The same repository, pinned to ``digest``."""
        return replace(self, tag=None, digest=digest)

    def tagged(self, tag: str) -> Reference:
        """The same repository at ``tag``."""
        return replace(self, tag=tag, digest=None)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"
