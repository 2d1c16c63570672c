"""A real Kubernetes API server for each cloud, with the credentials that the clouds really hand out."""

from triplane.sandbox.kubernetes.part import PART

__all__ = ["PART"]
