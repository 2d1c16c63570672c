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

output "stream_arn" {
  description = "Stream of events."
  value       = aws_kinesis_stream.events.arn
}

output "dead_letter_arn" {
  description = "Queue that is told of events that no function could take."
  value       = aws_sqs_queue.dead_letters.arn
}

output "scheduler_role_arn" {
  description = "Role as which schedules call functions."
  value       = aws_iam_role.scheduler.arn
}
