variable "environment" {
  description = "Name of the environment: a part of every name, and a tag."
  type        = string
}

variable "size" {
  description = "small or large: number of nodes, and the database's size."
  type        = string

  validation {
    condition     = contains(["small", "large"], var.size)
    error_message = "The size is small or large."
  }
}

variable "resource_group" {
  description = "Name of the resource group, which exists already."
  type        = string
  default     = "streaming"
}

variable "location" {
  description = "Azure region, the network's."
  type        = string
  default     = "westeurope"
}

variable "vpc_id" {
  description = "Id of the network that the cluster is in."
  type        = string
}

variable "subnet_ids" {
  description = "Ids of subnets; the cluster's nodes are in the first."
  type        = list(string)
}

variable "database_password" {
  description = "Password of the database's administrator."
  type        = string
  sensitive   = true
}
