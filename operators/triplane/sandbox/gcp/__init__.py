"""Google Cloud in the sandbox: discovery documents as the contract, REST and gRPC over one state."""

from triplane.sandbox.gcp.part import PART

__all__ = ["PART"]
