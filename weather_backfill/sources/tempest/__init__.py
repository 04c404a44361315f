"""Tempest stations: archives of their messages in a folder or bucket."""
