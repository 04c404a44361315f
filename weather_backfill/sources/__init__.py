"""Sources: one module a service; `base.py` says what a source is."""
