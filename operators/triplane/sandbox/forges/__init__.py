"""Pipelines outside of the three clouds' own APIs: GitHub Actions, GitLab, and Azure DevOps."""

from triplane.sandbox.forges.part import PART

__all__ = ["PART"]
