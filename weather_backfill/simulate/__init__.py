"""Simulators of the services: real formats, with the faults the real services have, seeded."""
