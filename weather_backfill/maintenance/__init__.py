"""Backup and retention."""
