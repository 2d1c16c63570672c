output "name" {
  description = "Name of the Kubernetes cluster."
  value       = google_container_cluster.main.name
}

output "bucket" {
  description = "Name of the bucket for events."
  value       = google_storage_bucket.events.name
}

output "webhook_service_account" {
  description = "Email of the webhook's service account."
  value       = google_service_account.webhook.email
}

output "database_endpoint" {
  description = "Connection name of the database, as the Cloud SQL connectors take it."
  value       = google_sql_database_instance.main.connection_name
}

output "topic" {
  description = "Topic of events."
  value       = google_pubsub_topic.events.id
}

output "dead_letter_topic" {
  description = "Topic for events that no function could take."
  value       = google_pubsub_topic.dead_letters.id
}
