"""The lake: objects (storage), where they lie (layout) and how Dagster's assets reach them (io_manager)."""
