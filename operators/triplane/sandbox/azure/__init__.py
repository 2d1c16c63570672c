"""Azure in the sandbox."""

from triplane.sandbox.azure.part import PART

__all__ = ["PART"]
