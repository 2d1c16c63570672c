"""Azure Functions, Container Apps and Logic Apps."""
