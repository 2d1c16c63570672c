"""How much a plan can hurt: pure, from resource types and actions alone."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from triplane.core.change import Risk
from triplane.terraform.plan import Plan, ResourceChange

DATA = {
    "aws": (
        "aws_backup_vault aws_cloudwatch_log_group aws_db_cluster_snapshot aws_db_instance aws_db_snapshot "
        "aws_docdb_cluster* aws_dynamodb_global_table aws_dynamodb_table aws_ebs_snapshot aws_ebs_volume "
        "aws_ecr_repository aws_ecs_cluster aws_efs_file_system aws_eks_cluster aws_elasticache_* "
        "aws_elasticsearch_domain aws_fsx_* aws_kinesis_stream aws_kinesis_firehose_delivery_stream "
        "aws_kms_key aws_kms_external_key aws_kms_replica_key aws_memorydb_cluster aws_mq_broker "
        "aws_msk_cluster aws_msk_serverless_cluster aws_neptune_cluster* aws_opensearch_domain aws_qldb_ledger "
        "aws_rds_cluster aws_rds_cluster_instance aws_rds_global_cluster aws_redshift_cluster "
        "aws_redshiftserverless_* aws_route53_zone aws_s3_bucket aws_s3_directory_bucket "
        "aws_secretsmanager_secret aws_secretsmanager_secret_version aws_sns_topic aws_sqs_queue "
        "aws_ssm_parameter aws_timestreamwrite_*"
    ),
    "gcp": (
        "google_alloydb_* google_artifact_registry_repository google_bigquery_dataset google_bigquery_table "
        "google_bigtable_instance google_bigtable_table google_compute_disk google_compute_region_disk "
        "google_compute_snapshot google_container_cluster google_dns_managed_zone google_filestore_* "
        "google_firestore_database google_kms_crypto_key google_kms_crypto_key_version google_kms_key_ring "
        "google_logging_project_bucket_config google_memcache_instance google_project google_pubsub_* "
        "google_redis_* google_secret_manager_secret google_secret_manager_secret_version google_spanner_* "
        "google_sql_database google_sql_database_instance google_sql_user google_storage_bucket "
        "google_storage_bucket_object"
    ),
    "azure": (
        "azurerm_app_configuration azurerm_container_registry azurerm_cosmosdb_* azurerm_data_protection_* "
        "azurerm_dns_zone azurerm_eventhub azurerm_eventhub_namespace azurerm_key_vault azurerm_key_vault_key "
        "azurerm_key_vault_managed_* azurerm_key_vault_secret azurerm_kubernetes_cluster azurerm_kusto_* "
        "azurerm_log_analytics_workspace azurerm_managed_disk azurerm_mariadb_* azurerm_mssql_database "
        "azurerm_mssql_managed_* azurerm_mssql_server azurerm_mysql_* azurerm_netapp_* azurerm_postgresql_* "
        "azurerm_private_dns_zone azurerm_recovery_services_vault azurerm_redis_* azurerm_resource_group "
        "azurerm_servicebus_* azurerm_snapshot azurerm_storage_account azurerm_storage_blob "
        "azurerm_storage_container azurerm_storage_queue azurerm_storage_share azurerm_storage_table "
        "azurerm_synapse_*"
    ),
}
"""Types that hold data, or without which data cannot be read: to lose one is critical."""

IAM = {
    "aws": (
        "aws_iam_* aws_*_policy aws_*_policy_attachment aws_eks_access_* aws_kms_grant aws_lambda_permission "
        "aws_organizations_* aws_ram_* aws_ssoadmin_* aws_identitystore_* aws_s3_bucket_acl "
        "aws_s3_bucket_public_access_block"
    ),
    "gcp": (
        "google_*_iam_* google_service_account google_service_account_key google_iam_* "
        "google_organization_policy google_project_organization_policy google_storage_*_acl "
        "google_storage_*access_control"
    ),
    "azure": (
        "azuread_* azurerm_role_* azurerm_*_role_assignment azurerm_*_role_definition "
        "azurerm_user_assigned_identity azurerm_federated_identity_credential "
        "azurerm_key_vault_access_policy azurerm_pim_*"
    ),
}
"""Types that decide who may do what: any change of one is critical."""

_NOT_IAM = frozenset({"aws_autoscaling_policy", "aws_appautoscaling_policy", "aws_ecr_lifecycle_policy"})
_DATA_GLOBS = tuple(" ".join(DATA.values()).split())
_IAM_GLOBS = tuple(" ".join(IAM.values()).split())
_BY_ACTION = {
    "read": Risk.NONE,
    "import": Risk.LOW,
    "create": Risk.LOW,
    "forget": Risk.MEDIUM,
    "update": Risk.MEDIUM,
    "replace": Risk.HIGH,
    "destroy": Risk.HIGH,
}


def risk(plan: Plan) -> Risk:
    """The highest risk of any change in ``plan``; changed outputs alone are low."""
    risks = [resource_risk(change) for change in plan.resources]
    return max([*risks, Risk.LOW if plan.outputs else Risk.NONE], default=Risk.NONE)


def resource_risk(change: ResourceChange) -> Risk:
    """Create is low, update medium, replace and destroy high; critical for data lost and for IAM."""
    found = _BY_ACTION[change.action]
    if found > Risk.NONE and is_iam(change.type):
        return Risk.CRITICAL
    if found is Risk.HIGH and holds_data(change.type):
        return Risk.CRITICAL
    return found


def ceiling(types: Iterable[str], *, empty: bool) -> Risk:
    """The most that a stack planned later may do without asking again.

    A stack with an empty state can only create: low, unless it declares IAM (``types`` are the resource
    types in its source). A stack that exists may also be updated in place: medium.
    """
    if not empty:
        return Risk.MEDIUM
    return Risk.CRITICAL if any(is_iam(name) for name in types) else Risk.LOW


def holds_data(resource_type: str) -> bool:
    """Whether losing such a resource loses data."""
    return any(fnmatchcase(resource_type, glob) for glob in _DATA_GLOBS)


def is_iam(resource_type: str) -> bool:
    """Whether such a resource decides who may do what."""
    return resource_type not in _NOT_IAM and any(fnmatchcase(resource_type, glob) for glob in _IAM_GLOBS)
