"""Values that every floor shares: days, partitions, schemas, metrics, errors, tags."""
