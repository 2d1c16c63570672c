"""The name of a secret in a cloud's store, as one reference that operators take."""

from __future__ import annotations

from typing import NamedTuple, Self
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from triplane.core.errors import InputError

STORES: dict[str, str] = {
    "secretsmanager": "AWS Secrets Manager",
    "ssm": "the SSM Parameter Store",
    "secretmanager": "Google Secret Manager",
    "keyvault": "Azure Key Vault",
}

VERSION = "#version"
"""What a reference to the version of a secret ends with."""


class Stored(NamedTuple):
    """``place`` is the region, the project or the vault; ``version`` is empty for the latest; ``part`` is the key of a
    secret that holds a JSON object, empty for the whole of it."""

    store: str
    connection: str
    place: str
    name: str
    version: str = ""
    part: str = ""

    @classmethod
    def parse(cls, reference: str) -> Self:
        """The inverse of ``str()``. :raises InputError: it is not such a reference"""
        url = urlsplit(reference)
        connection, at, place = url.netloc.partition("@")
        if url.scheme not in STORES or not at or not url.path.strip("/"):
            raise InputError(f"{reference} is not a reference to a secret, such as {cls.example()}")
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        name = unquote(url.path.removeprefix("/"))
        return cls(url.scheme, connection, place, name, query.get("version", ""), query.get("part", ""))

    @classmethod
    def example(cls) -> str:
        """What a reference looks like."""
        return str(cls("secretsmanager", "aws_default", "eu-west-1", "shop/database", part="password"))

    def __str__(self) -> str:
        query = urlencode({name: value for name in ("version", "part") if (value := getattr(self, name))})
        base = f"{self.store}://{self.connection}@{self.place}/{quote(self.name)}"
        return f"{base}?{query}" if query else base

    @property
    def of_version(self) -> str:
        """The reference that stands for the version of the secret in place of its value."""
        return f"{self._replace(part='')}{VERSION}"

    @property
    def said(self) -> str:
        """For people: which secret it is, and where."""
        version = f" version {self.version}" if self.version else ""
        return f"{self.name}{version} in {STORES[self.store]} ({self.place})"
