"""The resource types of the stand-in for hashicorp/aws."""

from __future__ import annotations

from triplane.sandbox.providers.aws.client import Aws, connect
from triplane.sandbox.providers.aws.cluster import CLUSTER, NODE_GROUP
from triplane.sandbox.providers.aws.data import BUCKET, DATABASE, SUBNET_GROUP
from triplane.sandbox.providers.aws.firewall import INGRESS_RULE, SECURITY_GROUP
from triplane.sandbox.providers.aws.identity import ROLE, ROLE_POLICY, ROLE_POLICY_ATTACHMENT
from triplane.sandbox.providers.aws.network import INTERNET_GATEWAY, SUBNET, VPC
from triplane.sandbox.providers.aws.routes import ROUTE
from triplane.sandbox.providers.aws.streams import QUEUE, STREAM
from triplane.sandbox.providers.schema import Body, Provider

PROVIDER: Provider[Aws] = Provider(
    name="aws",
    version="6.25.0",
    arguments=Body({"region": "optional string"}),
    resources=(
        VPC,
        SUBNET,
        INTERNET_GATEWAY,
        ROUTE,
        SECURITY_GROUP,
        INGRESS_RULE,
        BUCKET,
        ROLE,
        ROLE_POLICY,
        ROLE_POLICY_ATTACHMENT,
        CLUSTER,
        NODE_GROUP,
        SUBNET_GROUP,
        DATABASE,
        STREAM,
        QUEUE,
    ),
    connect=connect,
)
