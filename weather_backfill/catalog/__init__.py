"""The AWS Glue catalog: the lake and Tempest archives as tables that Athena and others read.

Three ways, in the order of preference: tables with partition projection, which need nothing registered per day
(`tables.py`); partitions registered in batches (`partitions.py`, `chunked_registration.py`);
Athena's `ALTER TABLE ... ADD PARTITION` (`ddl.py`).
"""
