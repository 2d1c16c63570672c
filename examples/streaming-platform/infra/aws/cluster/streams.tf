resource "aws_kinesis_stream" "events" {
  name        = "${local.name}-events"
  shard_count = var.size == "large" ? 4 : 1
  tags        = local.tags
}

# Is told of what no function could take.
resource "aws_sqs_queue" "dead_letters" {
  name                      = "${local.name}-dead-letters"
  message_retention_seconds = 14 * 24 * 3600
  tags                      = local.tags
}

resource "aws_iam_role_policy" "dead_letters" {
  name = "dead-letters"
  role = aws_iam_role.webhook.name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "sqs:SendMessage"
      Resource = aws_sqs_queue.dead_letters.arn
    }]
  })
}

resource "aws_iam_role" "scheduler" {
  name               = "${local.name}-scheduler"
  assume_role_policy = local.trust["scheduler"]
  tags               = local.tags
}

resource "aws_iam_role_policy_attachment" "scheduler" {
  role       = aws_iam_role.scheduler.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaRole"
}
