"""HTTPS door: Azure Resource Manager."""
