"""Bundles under a name and a version: in a folder that a group shares, or in AzureML."""
