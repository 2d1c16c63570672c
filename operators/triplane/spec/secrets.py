"""Where the secrets of a platform are kept. The spec never holds one."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from triplane.spec.values import AirflowName, Value

PLACES = ("variable", "connection", "secrets_manager", "ssm", "secret_manager", "key_vault")
STORED = {"secrets_manager": "aws", "ssm": "aws", "secret_manager": "gcp", "key_vault": "azure"}
"""Store -> the cloud that it belongs to, whose connection reads it."""
REFERENCE = re.compile(r"\$\{\s*secret\.([\w-]+)\s*\}")
"""How values refer to a secret by its name in the spec."""
StoredName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_/.+=@:!-]+$", max_length=2048)]


class Secret(Value):
    """One place where a secret is kept: an Airflow Variable or the password of a connection, which both may come from a
    secrets backend behind Airflow, or an entry of a cloud's own store."""

    variable: AirflowName | None = None
    connection: AirflowName | None = None
    secrets_manager: StoredName | None = None
    """Name or ARN in AWS Secrets Manager."""
    ssm: StoredName | None = None
    """Name of a parameter in the SSM Parameter Store."""
    secret_manager: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=255)] | None = None
    """Name in Google Secret Manager, in the cloud's project."""
    key_vault: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+/[A-Za-z0-9-]+$", max_length=152)] | None = None
    """``<vault>/<name>`` in Azure Key Vault."""
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)] | None = None
    """Of an entry of a cloud's store; the latest if there is none."""
    part: str | None = None
    """Key, where the entry holds a JSON object."""
    deliver: Literal["reference", "value"] = "reference"
    """How functions and containers get an entry of their own cloud's store."""
    track: bool = True
    """Whether a newer version of an entry of a cloud's store is drift, and reaches what uses it with a deployment."""

    @property
    def store(self) -> str | None:
        """The cloud's store that it is in, None where Airflow keeps it."""
        return next((name for name in STORED if getattr(self, name) is not None), None)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(getattr(self, place) is not None for place in PLACES) != 1:
            raise ValueError(f"a secret needs exactly one of {', '.join(map(repr, PLACES))}")
        if self.store is None and (
            self.version or self.part or self.deliver != "reference" or not self.track
        ):
            raise ValueError("'version', 'part', 'deliver' and 'track' are for entries of a cloud's store")
        return self
