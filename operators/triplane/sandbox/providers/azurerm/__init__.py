"""Stand-in for hashicorp/azurerm."""
