variable "environment" {
  description = "Name of the environment: a part of every name, and a label."
  type        = string
}

variable "size" {
  description = "small or large: the database's size. The cluster grows by itself."
  type        = string

  validation {
    condition     = contains(["small", "large"], var.size)
    error_message = "The size is small or large."
  }
}

variable "region" {
  description = "Region of everything here, the network's."
  type        = string
  default     = "europe-west1"
}

variable "vpc_id" {
  description = "Id of the network that the cluster is in."
  type        = string
}

variable "subnet_ids" {
  description = "Ids of subnets; the cluster uses the first."
  type        = list(string)
}

variable "database_password" {
  description = "Password of the database's administrator."
  type        = string
  sensitive   = true
}
