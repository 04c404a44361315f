"""Tenant files, and the access that their connections have."""
