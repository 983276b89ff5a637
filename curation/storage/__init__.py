"""Dataset storage: schema, conversions, bulk reads and writes."""
