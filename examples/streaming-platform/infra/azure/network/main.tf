terraform {
  required_version = ">= 1.6"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.55"
    }
  }

  backend "azurerm" {}
}

# The subscription comes from the environment (ARM_SUBSCRIPTION_ID).
provider "azurerm" {
  features {}
}

variable "environment" {
  description = "Name of the environment: a part of every name, and a tag."
  type        = string
}

variable "resource_group" {
  description = "Name of the resource group, which exists already."
  type        = string
  default     = "streaming"
}

variable "location" {
  description = "Azure region."
  type        = string
  default     = "westeurope"
}

variable "address_space" {
  description = "Addresses of the network."
  type        = string
  default     = "10.30.0.0/16"
}

locals {
  name = "streaming-${var.environment}"
  tags = {
    environment = var.environment
    platform    = "streaming"
  }
}

resource "azurerm_virtual_network" "main" {
  name                = local.name
  resource_group_name = var.resource_group
  location            = var.location
  address_space       = [var.address_space]
  tags                = local.tags
}

resource "azurerm_subnet" "nodes" {
  name                 = "nodes"
  resource_group_name  = var.resource_group
  virtual_network_name = azurerm_virtual_network.main.name
  address_prefixes     = [cidrsubnet(var.address_space, 4, 0)]
  service_endpoints    = ["Microsoft.Storage"]
}

output "vpc_id" {
  description = "Id of the network."
  value       = azurerm_virtual_network.main.id
}

output "subnet_ids" {
  description = "Ids of the subnets."
  value       = [azurerm_subnet.nodes.id]
}
