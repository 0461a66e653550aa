"""Taking in bars from venues: what ingest, repair and backfill have in common."""
