"""Secrets by reference, and the policy on tenant files: the folders, servers and secrets they may name."""
