"""Secrets by reference, and the policy on a tenant's file: folders, servers and secrets it may name."""
