terraform {
  required_version = ">= 1.6"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }

  backend "gcs" {}
}

# The project comes from the environment (GOOGLE_PROJECT).
provider "google" {
  region = var.region
}

locals {
  name = "streaming-${var.environment}"
  labels = {
    environment = var.environment
    platform    = "streaming"
  }
}

resource "google_service_account" "webhook" {
  account_id   = "${local.name}-webhook"
  display_name = "Streaming webhook, ${var.environment}"
}

resource "google_container_cluster" "main" {
  name                = local.name
  location            = var.region
  network             = var.vpc_id
  subnetwork          = var.subnet_ids[0]
  enable_autopilot    = true
  deletion_protection = var.environment == "prod"
  resource_labels     = local.labels
}

resource "google_storage_bucket" "events" {
  name                        = "${google_service_account.webhook.project}-${var.environment}-events"
  location                    = var.region
  force_destroy               = var.environment != "prod"
  uniform_bucket_level_access = true
  labels                      = local.labels

  versioning {
    enabled = true
  }
}

resource "google_sql_database_instance" "main" {
  name                = local.name
  database_version    = "POSTGRES_16"
  region              = var.region
  root_password       = var.database_password
  deletion_protection = var.environment == "prod"

  settings {
    tier              = var.size == "large" ? "db-custom-4-15360" : "db-f1-micro"
    edition           = "ENTERPRISE"
    availability_type = var.size == "large" ? "REGIONAL" : "ZONAL"
    disk_size         = var.size == "large" ? 100 : 10
    user_labels       = local.labels

    backup_configuration {
      enabled = true
    }

    ip_configuration {
      ssl_mode = "ENCRYPTED_ONLY"
    }
  }
}

resource "google_pubsub_topic" "events" {
  name   = "${local.name}-events"
  labels = local.labels
}

# Takes what no function could take.
resource "google_pubsub_topic" "dead_letters" {
  name                       = "${local.name}-dead-letters"
  message_retention_duration = "${14 * 24 * 3600}s"
  labels                     = local.labels
}
