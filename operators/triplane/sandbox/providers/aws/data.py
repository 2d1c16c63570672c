"""What holds data: S3 buckets and RDS databases."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from triplane.sandbox.providers.aws.client import Aws, tag_changes, tag_pairs, tags_of, text, xml
from triplane.sandbox.providers.aws.firewall import DESCRIPTION
from triplane.sandbox.providers.aws.network import TAGS, void
from triplane.sandbox.providers.http import wait
from triplane.sandbox.providers.schema import Attribute, CloudError, NotFound, Resource, State

XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def _create_bucket(cloud: Aws, plan: State) -> str:
    name = plan["bucket"]
    place = f"<LocationConstraint>{cloud.region}</LocationConstraint>" if cloud.region != "us-east-1" else ""
    body = f"<CreateBucketConfiguration {XMLNS}>{place}</CreateBucketConfiguration>" if place else ""
    cloud.s3("PUT", f"/{name}", body=body.encode())
    _put_tags(cloud, name, plan["tags_all"] or {})
    return str(name)


def _put_tags(cloud: Aws, name: str, tags: dict[str, str]) -> None:
    if not tags:
        cloud.s3("DELETE", f"/{name}", {"tagging": ""})
        return
    pairs = "".join(
        f"<Tag><Key>{escape(key)}</Key><Value>{escape(value)}</Value></Tag>" for key, value in tags.items()
    )
    body = f"<Tagging {XMLNS}><TagSet>{pairs}</TagSet></Tagging>"
    cloud.s3("PUT", f"/{name}", {"tagging": ""}, body.encode())


def _read_bucket(cloud: Aws, state: State) -> State:
    name = state["id"]
    place = xml(cloud.s3("GET", f"/{name}", {"location": ""}))
    try:
        tags = tags_of(xml(cloud.s3("GET", f"/{name}", {"tagging": ""})), "TagSet/Tag")
    except NotFound as error:
        if "NoSuchTagSet" not in str(error):
            raise
        tags = {}
    region = place.text or "us-east-1"
    return {
        "arn": f"arn:aws:s3:::{name}",
        "bucket": name,
        "bucket_domain_name": f"{name}.s3.amazonaws.com",
        "bucket_region": region,
        "bucket_regional_domain_name": f"{name}.s3.{region}.amazonaws.com",
        "region": region,
        "tags": tags,
        "tags_all": tags,
    }


def _update_bucket(cloud: Aws, before: State, after: State) -> None:
    if before["tags_all"] != after["tags_all"]:
        _put_tags(cloud, after["id"], after["tags_all"] or {})


def _delete_bucket(cloud: Aws, state: State) -> None:
    name = state["id"]
    while state["force_destroy"]:
        listed = xml(cloud.s3("GET", f"/{name}", {"list-type": "2", "max-keys": "1000"}))
        keys = [text(item, "Key") for item in listed.findall("Contents")]
        if not keys:
            break
        for key in keys:
            cloud.s3("DELETE", f"/{name}/{key}")
    cloud.s3("DELETE", f"/{name}")


BUCKET = Resource(
    name="s3_bucket",
    lines={
        "arn": "computed string",
        "bucket": "optional computed string replace",
        "bucket_domain_name": "computed string",
        "bucket_region": "computed string",
        "bucket_regional_domain_name": "computed string",
        "force_destroy": "optional bool",
        "id": "optional computed string",
        "region": "optional computed string replace",
        **TAGS,
    },
    create=_create_bucket,
    read=_read_bucket,
    update=_update_bucket,
    delete=_delete_bucket,
)


def _retag(cloud: Aws, before: State, after: State) -> None:
    added, removed = tag_changes(before, after)
    if added:
        cloud.query("rds", "AddTagsToResource", ResourceName=after["arn"], Tags={"member": tag_pairs(added)})
    if removed:
        cloud.query("rds", "RemoveTagsFromResource", ResourceName=after["arn"], TagKeys={"member": removed})


def _rds_tags(cloud: Aws, arn: str) -> State:
    answer = cloud.query("rds", "ListTagsForResource", ResourceName=arn)
    tags = tags_of(answer, ".//TagList/Tag")
    return {"tags": tags, "tags_all": tags}


def _create_subnet_group(cloud: Aws, plan: State) -> str:
    cloud.query(
        "rds",
        "CreateDBSubnetGroup",
        DBSubnetGroupName=plan["name"],
        DBSubnetGroupDescription=plan["description"] or DESCRIPTION,
        SubnetIds={"SubnetIdentifier": plan["subnet_ids"]},
        Tags={"Tag": tag_pairs(plan["tags_all"])},
    )
    return str(plan["name"])


def _read_subnet_group(cloud: Aws, state: State) -> State:
    answer = cloud.query("rds", "DescribeDBSubnetGroups", DBSubnetGroupName=state["id"])
    group = answer.find(".//DBSubnetGroups/DBSubnetGroup")
    arn = text(group, "DBSubnetGroupArn")
    subnets = group.findall("Subnets/Subnet/SubnetIdentifier") if group is not None else []
    return _rds_tags(cloud, arn) | {
        "arn": arn,
        "description": text(group, "DBSubnetGroupDescription"),
        "name": text(group, "DBSubnetGroupName"),
        "subnet_ids": [item.text for item in subnets],
        "vpc_id": text(group, "VpcId"),
    }


def _update_subnet_group(cloud: Aws, before: State, after: State) -> None:
    if (
        sorted(before["subnet_ids"]) != sorted(after["subnet_ids"])
        or before["description"] != after["description"]
    ):
        cloud.query(
            "rds",
            "ModifyDBSubnetGroup",
            DBSubnetGroupName=after["id"],
            DBSubnetGroupDescription=after["description"] or DESCRIPTION,
            SubnetIds={"SubnetIdentifier": after["subnet_ids"]},
        )
    _retag(cloud, before, after)


SUBNET_GROUP = Resource(
    name="db_subnet_group",
    lines={
        "arn": "computed string",
        "description": Attribute(type="string", optional=True, default=DESCRIPTION),
        "id": "optional computed string",
        "name": "optional computed string replace",
        "subnet_ids": "required set(string)",
        "vpc_id": "computed string",
        **TAGS,
    },
    create=_create_subnet_group,
    read=_read_subnet_group,
    update=_update_subnet_group,
    delete=lambda cloud, state: void(
        cloud.query("rds", "DeleteDBSubnetGroup", DBSubnetGroupName=state["id"])
    ),
)

CHANGEABLE = {
    "allocated_storage": "AllocatedStorage",
    "backup_retention_period": "BackupRetentionPeriod",
    "deletion_protection": "DeletionProtection",
    "engine_version": "EngineVersion",
    "instance_class": "DBInstanceClass",
    "multi_az": "MultiAZ",
    "password": "MasterUserPassword",
    "publicly_accessible": "PubliclyAccessible",
}


def _create_database(cloud: Aws, plan: State) -> str:
    arguments: dict[str, Any] = {parameter: plan[name] for name, parameter in CHANGEABLE.items()}
    arguments["VpcSecurityGroupIds"] = _groups(plan)
    answer = cloud.query(
        "rds",
        "CreateDBInstance",
        DBInstanceIdentifier=plan["identifier"],
        DBName=plan["db_name"],
        DBSubnetGroupName=plan["db_subnet_group_name"],
        Engine=plan["engine"],
        MasterUsername=plan["username"],
        StorageEncrypted=plan["storage_encrypted"],
        Tags={"Tag": tag_pairs(plan["tags_all"])},
        **arguments,
    )
    name = str(plan["identifier"])
    wait(lambda: text(_describe(cloud, name), "DBInstanceStatus") == "available", f"database {name}")
    return text(answer, ".//DbiResourceId")


def _groups(state: State) -> dict[str, list[str]]:
    return {"VpcSecurityGroupId": sorted(state["vpc_security_group_ids"] or [])}


def _describe(cloud: Aws, name: str) -> Any:
    found = cloud.query("rds", "DescribeDBInstances", DBInstanceIdentifier=name).find(
        ".//DBInstances/DBInstance"
    )
    if found is None:
        raise NotFound(f"no database {name}")
    return found


def _read_database(cloud: Aws, state: State) -> State:
    item = _describe(cloud, state["identifier"] or state["id"])
    arn, address, port = (
        text(item, "DBInstanceArn"),
        text(item, "Endpoint/Address"),
        text(item, "Endpoint/Port"),
    )
    return (
        _rds_tags(cloud, arn)
        | {
            "address": address,
            "allocated_storage": int(text(item, "AllocatedStorage", "0")),
            "arn": arn,
            "backup_retention_period": int(text(item, "BackupRetentionPeriod", "0")),
            "db_name": text(item, "DBName"),
            "db_subnet_group_name": text(item, "DBSubnetGroup/DBSubnetGroupName"),
            "deletion_protection": text(item, "DeletionProtection") == "true",
            "endpoint": f"{address}:{port}",
            "engine": text(item, "Engine"),
            "engine_version_actual": text(item, "EngineVersion"),
            "identifier": text(item, "DBInstanceIdentifier"),
            "instance_class": text(item, "DBInstanceClass"),
            "multi_az": text(item, "MultiAZ") == "true",
            "port": int(port or 0),
            "publicly_accessible": text(item, "PubliclyAccessible") == "true",
            "resource_id": text(item, "DbiResourceId"),
            "status": text(item, "DBInstanceStatus"),
            "storage_encrypted": text(item, "StorageEncrypted") == "true",
            "username": text(item, "MasterUsername"),
            "vpc_security_group_ids": [group.text for group in item.findall(".//VpcSecurityGroupId")],
        }
        | _version(state, text(item, "EngineVersion"))
    )


def _version(state: State, actual: str) -> State:
    """``engine_version = "16"`` is satisfied by 16.4: only the parts that were asked for count."""
    wanted = state.get("engine_version")
    return (
        {} if wanted and (actual == wanted or actual.startswith(f"{wanted}.")) else {"engine_version": actual}
    )


def _update_database(cloud: Aws, before: State, after: State) -> None:
    changed: dict[str, Any] = {
        parameter: after[name] for name, parameter in CHANGEABLE.items() if before[name] != after[name]
    }
    if _groups(before) != _groups(after):
        changed["VpcSecurityGroupIds"] = _groups(after)
    if changed:
        name = after["identifier"]
        immediately = bool(after["apply_immediately"])
        cloud.query(
            "rds", "ModifyDBInstance", DBInstanceIdentifier=name, ApplyImmediately=immediately, **changed
        )
        wait(lambda: text(_describe(cloud, name), "DBInstanceStatus") == "available", f"database {name}")
    _retag(cloud, before, after)


def _delete_database(cloud: Aws, state: State) -> None:
    name, skip = state["identifier"], bool(state["skip_final_snapshot"])
    if not skip and not state["final_snapshot_identifier"]:
        raise CloudError("final_snapshot_identifier is required when skip_final_snapshot is false")
    snapshot = None if skip else state["final_snapshot_identifier"]
    cloud.query(
        "rds",
        "DeleteDBInstance",
        DBInstanceIdentifier=name,
        SkipFinalSnapshot=skip,
        FinalDBSnapshotIdentifier=snapshot,
    )
    wait(lambda: _gone(cloud, name), f"deletion of database {name}")


def _gone(cloud: Aws, name: str) -> bool:
    try:
        _describe(cloud, name)
    except NotFound:
        return True
    return False


DATABASE = Resource(
    name="db_instance",
    lines={
        "address": "computed string",
        "allocated_storage": "optional computed number",
        "apply_immediately": "optional bool",
        "arn": "computed string",
        "backup_retention_period": "optional computed number",
        "db_name": "optional computed string replace",
        "db_subnet_group_name": "optional computed string replace",
        "deletion_protection": "optional bool",
        "endpoint": "computed string",
        "engine": "optional computed string replace",
        "engine_version": "optional computed string",
        "engine_version_actual": "computed string after=engine_version",
        "final_snapshot_identifier": "optional string",
        "id": "optional computed string",
        "identifier": "optional computed string replace",
        "instance_class": "required string",
        "multi_az": "optional computed bool",
        "password": "optional string sensitive",
        "port": "optional computed number",
        "publicly_accessible": "optional bool",
        "resource_id": "computed string",
        "skip_final_snapshot": "optional bool",
        "status": "computed string",
        "storage_encrypted": "optional bool replace",
        "username": "optional computed string replace",
        "vpc_security_group_ids": "optional computed set(string)",
        **TAGS,
    },
    create=_create_database,
    read=_read_database,
    update=_update_database,
    delete=_delete_database,
)
