"""Backup and restore, and the retention of old versions and records."""
