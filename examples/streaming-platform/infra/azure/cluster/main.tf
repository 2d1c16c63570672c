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

locals {
  name  = "streaming-${var.environment}"
  nodes = { small = 2, large = 4 }
  tags = {
    environment = var.environment
    platform    = "streaming"
  }
}

resource "azurerm_user_assigned_identity" "webhook" {
  name                = "${local.name}-webhook"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = local.tags
}

resource "azurerm_kubernetes_cluster" "main" {
  name                = local.name
  resource_group_name = var.resource_group
  location            = var.location
  dns_prefix          = local.name
  tags                = merge(local.tags, { network = basename(var.vpc_id) })

  default_node_pool {
    name           = "default"
    vm_size        = "Standard_D2s_v5"
    node_count     = local.nodes[var.size]
    vnet_subnet_id = var.subnet_ids[0]
  }

  identity {
    type = "SystemAssigned"
  }
}

resource "azurerm_storage_account" "events" {
  name                            = "streaming${var.environment}events"
  resource_group_name             = var.resource_group
  location                        = var.location
  account_tier                    = "Standard"
  account_replication_type        = var.size == "large" ? "ZRS" : "LRS"
  allow_nested_items_to_be_public = false
  tags                            = local.tags
}

resource "azurerm_postgresql_flexible_server" "main" {
  name                   = local.name
  resource_group_name    = var.resource_group
  location               = var.location
  version                = "16"
  sku_name               = var.size == "large" ? "GP_Standard_D4ds_v5" : "B_Standard_B1ms"
  storage_mb             = var.size == "large" ? 131072 : 32768
  zone                   = "1"
  administrator_login    = "streaming"
  administrator_password = var.database_password
  tags                   = local.tags
}

resource "azurerm_eventhub_namespace" "main" {
  name                = local.name
  resource_group_name = var.resource_group
  location            = var.location
  sku                 = "Standard"
  capacity            = var.size == "large" ? 4 : 1
  tags                = local.tags
}

resource "azurerm_eventhub" "events" {
  name              = "events"
  namespace_id      = azurerm_eventhub_namespace.main.id
  partition_count   = 4
  message_retention = 1
}
