"""Values that a worker has signed, so that an edited XCom or run configuration cannot stand in for one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from triplane.core.digest import canonical_json
from triplane.core.keys import key_id, seal, sealed


@dataclass(frozen=True, kw_only=True)
class Signed:
    """Base of values that are signed: ``key`` names the signing key, and both are empty until then."""

    key: str = ""
    signature: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, all of which are signed."""
        raise NotImplementedError

    def sign(self, keys: Sequence[str]) -> Self:
        """This value signed with the newest of ``keys``."""
        unsigned = replace(self, key=key_id(keys[0]), signature="")
        return replace(unsigned, signature=seal(keys[0], canonical_json(unsigned.to_json())))

    def signed_by(self, keys: Iterable[str]) -> bool:
        """Whether one of ``keys`` signed exactly this content."""
        unsigned = replace(self, signature="")
        return sealed(keys, self.key, canonical_json(unsigned.to_json()), self.signature)
