output "name" {
  description = "Name of the Kubernetes cluster."
  value       = azurerm_kubernetes_cluster.main.name
}

output "bucket" {
  description = "Name of the storage account for events."
  value       = azurerm_storage_account.events.name
}

output "identity_id" {
  description = "Id of the webhook's identity."
  value       = azurerm_user_assigned_identity.webhook.id
}

output "database_endpoint" {
  description = "Host of the database."
  value       = azurerm_postgresql_flexible_server.main.fqdn
}

output "event_hub_id" {
  description = "Event hub of events."
  value       = azurerm_eventhub.events.id
}
