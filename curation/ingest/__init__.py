"""Reading what people have: one format a file, and the checks that all formats share."""
