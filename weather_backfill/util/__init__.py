"""Logs, retries, signals, JSON documents."""
