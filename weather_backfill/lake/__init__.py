"""The lake: layout of objects, Parquet files, versions, provenance, and the warehouse's views."""
