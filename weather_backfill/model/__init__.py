"""Values shared by all packages: days, partitions, schemas, metrics, errors, tags."""
