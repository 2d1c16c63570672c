"""The resource types of the stand-in for hashicorp/google."""

from __future__ import annotations

from triplane.sandbox.providers.google.client import Google, connect
from triplane.sandbox.providers.google.cluster import CLUSTER
from triplane.sandbox.providers.google.data import BUCKET, DATABASE
from triplane.sandbox.providers.google.identity import SERVICE_ACCOUNT
from triplane.sandbox.providers.google.network import NETWORK, SUBNETWORK
from triplane.sandbox.providers.google.topics import TOPIC
from triplane.sandbox.providers.schema import Body, Provider

PROVIDER: Provider[Google] = Provider(
    name="google",
    version="6.50.0",
    arguments=Body(
        {
            "access_token": "optional string sensitive",
            "project": "optional string",
            "region": "optional string",
        }
    ),
    resources=(NETWORK, SUBNETWORK, BUCKET, SERVICE_ACCOUNT, CLUSTER, DATABASE, TOPIC),
    connect=connect,
)
