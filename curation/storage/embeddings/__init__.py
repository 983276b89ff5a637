"""Vector table, nearest neighbors and brain runs."""
