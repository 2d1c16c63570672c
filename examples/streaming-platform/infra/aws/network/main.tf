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

variable "environment" {
  description = "Name of the environment: a part of every name, and a tag."
  type        = string
}

variable "address_space" {
  description = "Addresses of the network."
  type        = string
  default     = "10.10.0.0/16"
}

variable "availability_zones" {
  description = "Zones that get a subnet each."
  type        = list(string)
  default     = ["eu-west-1a", "eu-west-1b"]
}

locals {
  name = "streaming-${var.environment}"
  tags = {
    environment = var.environment
    platform    = "streaming"
  }
}

resource "aws_vpc" "main" {
  cidr_block           = var.address_space
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = merge(local.tags, { Name = local.name })
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
  tags   = merge(local.tags, { Name = local.name })
}

resource "aws_route" "internet" {
  route_table_id         = aws_vpc.main.main_route_table_id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.main.id
}

resource "aws_subnet" "main" {
  count = length(var.availability_zones)

  vpc_id                  = aws_vpc.main.id
  cidr_block              = cidrsubnet(var.address_space, 4, count.index)
  availability_zone       = var.availability_zones[count.index]
  map_public_ip_on_launch = true

  tags = merge(local.tags, {
    Name                                  = "${local.name}-${var.availability_zones[count.index]}"
    "kubernetes.io/role/elb"              = "1"
    "kubernetes.io/cluster/${local.name}" = "shared"
  })
}

output "vpc_id" {
  description = "Id of the network."
  value       = aws_vpc.main.id
}

output "subnet_ids" {
  description = "Ids of the subnets, one a zone."
  value       = aws_subnet.main[*].id
}
