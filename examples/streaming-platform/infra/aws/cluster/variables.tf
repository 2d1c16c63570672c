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

variable "vpc_id" {
  description = "Id of the network that the cluster and the database are in."
  type        = string
}

variable "subnet_ids" {
  description = "Ids of at least two subnets in different zones."
  type        = list(string)
}

variable "database_password" {
  description = "Password of the database's owner."
  type        = string
  sensitive   = true
}
