"""Simulators: real servers with made-up data whose truth is known, for trying things out and for tests."""
