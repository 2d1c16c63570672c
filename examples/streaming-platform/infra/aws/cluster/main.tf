terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }

  backend "s3" {}
}

provider "aws" {}

locals {
  name   = "streaming-${var.environment}"
  bucket = "streaming-${var.environment}-events"
  nodes  = { small = 2, large = 4 }
  tags = {
    environment = var.environment
    platform    = "streaming"
  }
}

resource "aws_iam_role" "cluster" {
  name               = "${local.name}-cluster"
  assume_role_policy = local.trust["eks"]
  tags               = local.tags
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"
}

resource "aws_iam_role" "nodes" {
  name               = "${local.name}-nodes"
  assume_role_policy = local.trust["ec2"]
  tags               = local.tags
}

resource "aws_iam_role_policy_attachment" "nodes" {
  for_each = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly"])

  role       = aws_iam_role.nodes.name
  policy_arn = "arn:aws:iam::aws:policy/${each.value}"
}

resource "aws_iam_role" "webhook" {
  name               = "${local.name}-webhook"
  assume_role_policy = local.trust["lambda"]
  tags               = local.tags
}

resource "aws_iam_role_policy_attachment" "webhook" {
  for_each = toset(["AWSLambdaBasicExecutionRole", "AWSLambdaKinesisExecutionRole"])

  role       = aws_iam_role.webhook.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/${each.value}"
}

resource "aws_eks_cluster" "main" {
  name     = local.name
  role_arn = aws_iam_role.cluster.arn
  tags     = local.tags

  vpc_config {
    subnet_ids = var.subnet_ids
  }

  depends_on = [aws_iam_role_policy_attachment.cluster]
}

resource "aws_eks_node_group" "main" {
  cluster_name    = aws_eks_cluster.main.name
  node_group_name = "default"
  node_role_arn   = aws_iam_role.nodes.arn
  subnet_ids      = var.subnet_ids
  instance_types  = ["t3.large"]
  tags            = local.tags

  scaling_config {
    desired_size = local.nodes[var.size]
    min_size     = 1
    max_size     = 2 * local.nodes[var.size]
  }

  depends_on = [aws_iam_role_policy_attachment.nodes]
}

resource "aws_s3_bucket" "events" {
  bucket        = local.bucket
  force_destroy = var.environment != "prod"
  tags          = local.tags
}

resource "aws_db_subnet_group" "main" {
  name       = local.name
  subnet_ids = var.subnet_ids
  tags       = local.tags
}

resource "aws_security_group" "database" {
  name        = "${local.name}-database"
  description = "Lets the network reach the database"
  vpc_id      = var.vpc_id
  tags        = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  security_group_id = aws_security_group.database.id
  cidr_ipv4         = "10.0.0.0/8"
  ip_protocol       = "tcp"
  from_port         = 5432
  to_port           = 5432
  tags              = local.tags
}

resource "aws_db_instance" "main" {
  identifier             = local.name
  engine                 = "postgres"
  engine_version         = "16"
  instance_class         = var.size == "large" ? "db.m6g.large" : "db.t4g.micro"
  allocated_storage      = var.size == "large" ? 100 : 20
  db_name                = "streaming"
  username               = "streaming"
  password               = var.database_password
  db_subnet_group_name   = aws_db_subnet_group.main.name
  vpc_security_group_ids = [aws_security_group.database.id]
  storage_encrypted      = true
  multi_az               = var.size == "large"
  apply_immediately      = true
  deletion_protection    = var.environment == "prod"
  tags                   = local.tags

  skip_final_snapshot       = var.environment != "prod"
  final_snapshot_identifier = "${local.name}-final"
}
