"""Resource types by what it means to lose or change one; shown to people in docs/guides/risk.md.

A ``*`` stands for any text. The names are those of hashicorp/aws 6, google 6, azurerm 4, and what azurerm 3 had besides.
"""

from __future__ import annotations

DATA = {
    "databases": {
        "aws": (
            "aws_db_cluster_snapshot aws_db_instance aws_db_snapshot aws_db_snapshot_copy aws_docdb_cluster "
            "aws_docdb_cluster_instance aws_docdb_cluster_snapshot aws_docdb_global_cluster aws_docdbelastic_cluster "
            "aws_dsql_cluster aws_dynamodb_global_table aws_dynamodb_table aws_dynamodb_table_item "
            "aws_dynamodb_table_replica aws_elasticache_cluster aws_elasticache_global_replication_group "
            "aws_elasticache_replication_group aws_elasticache_serverless_cache aws_finspace_kx_database "
            "aws_finspace_kx_environment aws_finspace_kx_volume aws_keyspaces_keyspace aws_keyspaces_table "
            "aws_lightsail_database aws_memorydb_cluster aws_memorydb_multi_region_cluster aws_memorydb_snapshot "
            "aws_neptune_cluster aws_neptune_cluster_instance aws_neptune_cluster_snapshot aws_neptune_global_cluster "
            "aws_neptunegraph_graph aws_odb_cloud_* aws_qldb_ledger aws_rds_cluster aws_rds_cluster_instance "
            "aws_rds_cluster_snapshot_copy aws_rds_global_cluster aws_rds_shard_group aws_redshift_cluster "
            "aws_redshift_cluster_snapshot aws_redshiftserverless_namespace aws_redshiftserverless_snapshot "
            "aws_redshiftserverless_workgroup aws_timestreaminfluxdb_db_* aws_timestreamwrite_*"
        ),
        "gcp": (
            "google_alloydb_backup google_alloydb_cluster google_alloydb_instance google_bigtable_instance "
            "google_bigtable_table google_firestore_database google_firestore_document google_memcache_instance "
            "google_memorystore_instance google_oracle_database_autonomous_database "
            "google_oracle_database_cloud_exadata_infrastructure google_oracle_database_cloud_vm_cluster "
            "google_redis_cluster google_redis_instance google_spanner_database google_spanner_instance "
            "google_spanner_instance_partition google_sql_database google_sql_database_instance"
        ),
        "azure": (
            "azurerm_cosmosdb_account azurerm_cosmosdb_cassandra_* azurerm_cosmosdb_gremlin_* "
            "azurerm_cosmosdb_mongo_collection azurerm_cosmosdb_mongo_database azurerm_cosmosdb_postgresql_cluster "
            "azurerm_cosmosdb_sql_container azurerm_cosmosdb_sql_database azurerm_cosmosdb_table azurerm_managed_redis "
            "azurerm_mariadb_database azurerm_mariadb_server azurerm_mongo_cluster azurerm_mssql_database "
            "azurerm_mssql_managed_database azurerm_mssql_managed_instance azurerm_mssql_server azurerm_mysql_database "
            "azurerm_mysql_flexible_database azurerm_mysql_flexible_server azurerm_mysql_server "
            "azurerm_oracle_autonomous_database* azurerm_oracle_cloud_vm_cluster azurerm_oracle_exadata_infrastructure "
            "azurerm_oracle_exascale_database_storage_vault azurerm_postgresql_database "
            "azurerm_postgresql_flexible_server azurerm_postgresql_flexible_server_backup "
            "azurerm_postgresql_flexible_server_database azurerm_postgresql_server azurerm_redis_cache "
            "azurerm_redis_enterprise_cluster azurerm_redis_enterprise_database azurerm_sql_database "
            "azurerm_sql_managed_instance azurerm_sql_server"
        ),
    },
    "analytics, search and logs": {
        "aws": (
            "aws_athena_database aws_cloudsearch_domain aws_cloudtrail_event_data_store aws_cloudwatch_log_group "
            "aws_cloudwatch_log_stream aws_elasticsearch_domain aws_emr_cluster aws_glue_catalog_database "
            "aws_glue_catalog_table aws_glue_registry aws_glue_schema aws_grafana_workspace aws_kendra_index "
            "aws_opensearch_domain aws_opensearchserverless_collection aws_prometheus_workspace "
            "aws_rekognition_collection aws_sagemaker_domain aws_sagemaker_feature_group "
            "aws_sagemaker_notebook_instance aws_securitylake_data_lake"
        ),
        "gcp": (
            "google_apigee_organization google_biglake_catalog google_biglake_database google_biglake_table "
            "google_bigquery_dataset google_bigquery_table google_composer_environment google_data_fusion_instance "
            "google_dataproc_cluster google_dataproc_metastore_service google_discovery_engine_data_store "
            "google_healthcare_*_store google_healthcare_dataset google_logging_*_bucket_config google_looker_instance "
            "google_notebooks_instance google_vertex_ai_dataset google_vertex_ai_feature_online_store "
            "google_vertex_ai_featurestore google_vertex_ai_featurestore_entitytype google_vertex_ai_index "
            "google_vertex_ai_tensorboard google_workbench_instance"
        ),
        "azure": (
            "azurerm_analysis_services_server azurerm_application_insights azurerm_confidential_ledger "
            "azurerm_dashboard_grafana azurerm_databricks_workspace azurerm_digital_twins_instance "
            "azurerm_elastic_cloud_elasticsearch azurerm_hdinsight_*_cluster azurerm_healthcare_dicom_service "
            "azurerm_healthcare_fhir_service azurerm_healthcare_service azurerm_healthcare_workspace "
            "azurerm_iotcentral_application azurerm_kusto_cluster azurerm_kusto_database azurerm_log_analytics_cluster "
            "azurerm_log_analytics_workspace azurerm_log_analytics_workspace_table_custom_log "
            "azurerm_machine_learning_workspace azurerm_monitor_workspace azurerm_purview_account "
            "azurerm_search_service azurerm_synapse_sql_pool azurerm_synapse_workspace"
        ),
    },
    "buckets, disks, files and backups": {
        "aws": (
            "aws_ami aws_ami_copy aws_ami_from_instance aws_backup_logically_air_gapped_vault aws_backup_vault "
            "aws_ebs_snapshot aws_ebs_snapshot_copy aws_ebs_snapshot_import aws_ebs_volume aws_efs_file_system "
            "aws_fsx_*_file_system aws_fsx_*_snapshot aws_fsx_*_volume aws_fsx_backup aws_fsx_file_cache "
            "aws_fsx_ontap_storage_virtual_machine aws_glacier_vault aws_lightsail_bucket aws_lightsail_disk "
            "aws_lightsail_instance aws_media_store_container aws_s3_bucket aws_s3_bucket_object "
            "aws_s3_directory_bucket aws_s3_object aws_s3_object_copy aws_s3control_bucket aws_s3tables_namespace "
            "aws_s3tables_table aws_s3tables_table_bucket aws_s3vectors_index aws_s3vectors_vector_bucket "
            "aws_storagegateway_*_volume aws_workspaces_workspace"
        ),
        "gcp": (
            "google_backup_dr_backup_vault google_compute_disk google_compute_image google_compute_region_disk "
            "google_compute_snapshot google_compute_storage_pool google_filestore_* google_gke_backup_backup_plan "
            "google_lustre_instance google_netapp_backup google_netapp_backup_vault google_netapp_storage_pool "
            "google_netapp_volume google_netapp_volume_snapshot google_parallelstore_instance google_storage_bucket "
            "google_storage_bucket_object google_storage_folder google_storage_managed_folder"
        ),
        "azure": (
            "azurerm_backup_protected_file_share azurerm_backup_protected_vm "
            "azurerm_data_protection_backup_instance_* azurerm_data_protection_backup_vault azurerm_elastic_san "
            "azurerm_elastic_san_volume azurerm_elastic_san_volume_group azurerm_image azurerm_managed_disk "
            "azurerm_managed_lustre_file_system azurerm_netapp_account azurerm_netapp_backup_vault azurerm_netapp_pool "
            "azurerm_netapp_snapshot azurerm_netapp_volume azurerm_netapp_volume_group_* azurerm_qumulo_file_system "
            "azurerm_recovery_services_vault azurerm_shared_image azurerm_shared_image_gallery "
            "azurerm_shared_image_version azurerm_snapshot azurerm_storage_account azurerm_storage_blob "
            "azurerm_storage_container azurerm_storage_data_lake_gen2_filesystem azurerm_storage_data_lake_gen2_path "
            "azurerm_storage_share azurerm_storage_share_directory azurerm_storage_share_file azurerm_storage_table "
            "azurerm_storage_table_entity"
        ),
    },
    "queues, topics and streams": {
        "aws": (
            "aws_cloudwatch_event_archive aws_kinesis_firehose_delivery_stream aws_kinesis_stream "
            "aws_kinesis_video_stream aws_mq_broker aws_msk_cluster aws_msk_serverless_cluster aws_sns_topic "
            "aws_sqs_queue"
        ),
        "gcp": (
            "google_cloud_tasks_queue google_managed_kafka_cluster google_managed_kafka_topic "
            "google_pubsub_lite_subscription google_pubsub_lite_topic google_pubsub_schema google_pubsub_subscription "
            "google_pubsub_topic"
        ),
        "azure": (
            "azurerm_eventgrid_domain azurerm_eventgrid_topic azurerm_eventhub azurerm_eventhub_cluster "
            "azurerm_eventhub_namespace azurerm_eventhub_namespace_schema_group azurerm_iothub azurerm_iothub_dps "
            "azurerm_servicebus_namespace azurerm_servicebus_queue azurerm_servicebus_subscription "
            "azurerm_servicebus_topic azurerm_storage_queue"
        ),
    },
    "clusters": {
        "aws": "aws_ecs_cluster aws_eks_cluster",
        "gcp": (
            "google_container_aws_cluster google_container_azure_cluster google_container_cluster "
            "google_gkeonprem_*_cluster"
        ),
        "azure": (
            "azurerm_arc_kubernetes_provisioned_cluster azurerm_kubernetes_cluster azurerm_redhat_openshift_cluster "
            "azurerm_service_fabric_cluster azurerm_service_fabric_managed_cluster azurerm_vmware_cluster "
            "azurerm_vmware_private_cloud"
        ),
    },
    "keys, secrets and settings": {
        "aws": (
            "aws_acmpca_certificate_authority aws_cloudhsm_v2_cluster aws_cloudhsm_v2_hsm aws_kms_custom_key_store "
            "aws_kms_external_key aws_kms_key aws_kms_replica_external_key aws_kms_replica_key "
            "aws_paymentcryptography_key aws_secretsmanager_secret aws_secretsmanager_secret_version aws_ssm_parameter"
        ),
        "gcp": (
            "google_kms_crypto_key google_kms_crypto_key_version google_kms_key_handle google_kms_key_ring "
            "google_parameter_manager_* google_privateca_ca_pool google_privateca_certificate_authority "
            "google_secret_manager_regional_secret google_secret_manager_regional_secret_version "
            "google_secret_manager_secret google_secret_manager_secret_version"
        ),
        "azure": (
            "azurerm_*_customer_managed_key azurerm_app_configuration azurerm_app_configuration_feature "
            "azurerm_app_configuration_key azurerm_dedicated_hardware_security_module azurerm_disk_encryption_set azurerm_key_vault "
            "azurerm_key_vault_certificate azurerm_key_vault_key azurerm_key_vault_managed_hardware_security_module "
            "azurerm_key_vault_managed_hardware_security_module_key azurerm_key_vault_managed_storage_account "
            "azurerm_key_vault_secret azurerm_postgresql_server_key azurerm_storage_encryption_scope "
            "azurerm_synapse_workspace_key"
        ),
    },
    "images, packages and code": {
        "aws": (
            "aws_codeartifact_domain aws_codeartifact_repository aws_codecommit_repository aws_ecr_repository "
            "aws_ecrpublic_repository"
        ),
        "gcp": (
            "google_artifact_registry_repository google_container_registry google_secure_source_manager_instance "
            "google_secure_source_manager_repository google_sourcerepo_repository"
        ),
        "azure": "azurerm_container_registry",
    },
    "users": {
        "aws": "aws_cognito_user_pool aws_directory_service_directory",
        "gcp": "google_active_directory_domain google_identity_platform_tenant",
        "azure": "azurerm_aadb2c_directory azurerm_active_directory_domain_service",
    },
    "names, and what holds other resources": {
        "aws": (
            "aws_cloudcontrolapi_resource aws_cloudformation_stack aws_cloudformation_stack_instances "
            "aws_cloudformation_stack_set_instance aws_route53_zone aws_route53domains_domain "
            "aws_route53domains_registered_domain aws_serverlessapplicationrepository_cloudformation_stack"
        ),
        "gcp": (
            "google_clouddomains_registration google_deployment_manager_deployment google_dns_managed_zone "
            "google_folder google_project"
        ),
        "azure": (
            "azurerm_dns_zone azurerm_private_dns_zone azurerm_resource_group "
            "azurerm_resource_group_template_deployment azurerm_subscription azurerm_subscription_template_deployment"
        ),
    },
}
"""Types that hold data, or without which data cannot be read or reached: to lose one is critical."""

IAM = {
    "aws": (
        "aws_*_permission aws_*_policy aws_*_policy_attachment aws_*_public_access* "
        "aws_cognito_identity_pool_roles_attachment aws_db_instance_role_association aws_eks_access_* "
        "aws_eks_pod_identity_association aws_grafana_role_association aws_iam_* aws_identitystore_* "
        "aws_iot_role_alias aws_kms_grant aws_lakeformation_data_lake_settings aws_lakeformation_permissions "
        "aws_lightsail_bucket_access_key aws_lightsail_bucket_resource_access aws_organizations_* aws_ram_* "
        "aws_rds_cluster_role_association aws_redshift_cluster_iam_roles aws_redshift_data_share_authorization "
        "aws_redshift_endpoint_authorization aws_rolesanywhere_* aws_s3_bucket_acl aws_s3_bucket_ownership_controls "
        "aws_s3control_access_grant* aws_ssoadmin_* aws_verifiedpermissions_* aws_vpc_endpoint_service_allowed_principal"
    ),
    "gcp": (
        "google_*_access_approval_settings google_*_iam_* google_access_context_manager_* google_apikeys_key "
        "google_bigquery_datapolicy_data_policy google_bigquery_dataset_access google_bigquery_row_access_policy "
        "google_cloud_identity_group* google_folder_organization_policy google_iam_* google_managed_kafka_acl "
        "google_org_policy_* google_organization_policy google_privileged_access_manager_* "
        "google_project_default_service_accounts google_project_organization_policy google_service_account "
        "google_service_account_key google_storage_*_acl google_storage_*access_control google_storage_hmac_key"
    ),
    "azure": (
        "azuread_* azurerm_*_active_directory_administrator azurerm_*_authorization_rule azurerm_*_policy_assignment "
        "azurerm_*_role_assignment azurerm_*_role_definition azurerm_*_sas_token* azurerm_*_shared_access_policy "
        "azurerm_container_registry_scope_map azurerm_container_registry_token* "
        "azurerm_cosmosdb_mongo_user_definition azurerm_cosmosdb_postgresql_role azurerm_federated_identity_credential "
        "azurerm_key_vault_access_policy azurerm_kubernetes_cluster_trusted_access_role_binding "
        "azurerm_kusto_*_principal_assignment azurerm_lighthouse_* azurerm_management_lock azurerm_mongo_cluster_user "
        "azurerm_pim_* azurerm_redis_cache_access_policy azurerm_role_* azurerm_storage_account_local_user "
        "azurerm_synapse_workspace_*aad_admin azurerm_user_assigned_identity"
    ),
}
"""Types that decide who may do what: any change of one is critical."""

NOT_IAM = {
    "aws": (
        "aws_*_lifecycle_policy aws_*_stickiness_policy aws_appautoscaling_policy aws_autoscaling_policy "
        "aws_batch_scheduling_policy aws_cloudfront_*_policy aws_cloudwatch_log_account_policy "
        "aws_cloudwatch_log_index_policy aws_efs_backup_policy aws_emr_managed_scaling_policy aws_fms_policy "
        "aws_lb_ssl_negotiation_policy aws_lightsail_lb_https_redirection_policy aws_load_balancer_*policy "
        "aws_networkfirewall_firewall_policy aws_networkmanager_core_network_policy_attachment "
        "aws_proxy_protocol_policy aws_resiliencehub_resiliency_policy aws_route53_traffic_policy "
        "aws_securityhub_configuration_policy aws_sqs_queue_redrive_*policy"
    ),
    "gcp": "",
    "azure": "",
}
"""Types whose names look like those above, and that give no access to anything."""
