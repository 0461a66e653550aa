"""`ops.migration.dataops_v2`: legacy bars, moved into the lakehouse and proven to be there."""
