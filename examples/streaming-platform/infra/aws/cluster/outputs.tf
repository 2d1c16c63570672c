output "name" {
  description = "Name of the Kubernetes cluster."
  value       = aws_eks_cluster.main.name
}

output "bucket" {
  description = "Name of the bucket for events."
  value       = aws_s3_bucket.events.bucket
}

output "webhook_role_arn" {
  description = "Role of the webhook function."
  value       = aws_iam_role.webhook.arn
}

output "database_endpoint" {
  description = "Host and port of the database."
  value       = aws_db_instance.main.endpoint
}
