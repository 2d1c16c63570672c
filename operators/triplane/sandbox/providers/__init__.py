"""Terraform providers that stand in for hashicorp/aws, hashicorp/google and hashicorp/azurerm.

Each has a few resource types under their real names and with their real attributes, and acts on the sandbox's
clouds through their real APIs. ``schema`` and ``planning`` are pure, ``plugin`` speaks Terraform's protocol
(with PyPI ``tf``, in a virtual environment of its own), and one package a cloud holds a table of resource types.
"""
