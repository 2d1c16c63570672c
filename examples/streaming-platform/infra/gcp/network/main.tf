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

variable "environment" {
  description = "Name of the environment: a part of every name."
  type        = string
}

variable "region" {
  description = "Region of the subnet."
  type        = string
  default     = "europe-west1"
}

variable "address_space" {
  description = "Addresses of the network."
  type        = string
  default     = "10.20.0.0/16"
}

locals {
  name = "streaming-${var.environment}"
}

resource "google_compute_network" "main" {
  name                    = local.name
  description             = "Streaming platform, ${var.environment}"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "main" {
  name                     = "${local.name}-nodes"
  network                  = google_compute_network.main.id
  ip_cidr_range            = cidrsubnet(var.address_space, 4, 0)
  private_ip_google_access = true
}

output "vpc_id" {
  description = "Id of the network."
  value       = google_compute_network.main.id
}

output "subnet_ids" {
  description = "Ids of the subnets."
  value       = [google_compute_subnetwork.main.id]
}
