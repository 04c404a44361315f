"""Weeks of operation in minutes: `make test-soak`. No part of `make test`."""
