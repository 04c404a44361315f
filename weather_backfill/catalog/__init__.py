"""The catalog: what the lake and the archives hold, as tables of AWS Glue that Athena and others read.

Three ways, in the order of preference: tables with partition projection, which have nothing to register per day
(`tables.py`); partitions registered in batches (`partitions.py`); Athena's `ALTER TABLE ... ADD PARTITION` (`ddl.py`).
"""
