"""Object stores: one interface for a local folder and S3."""
