"""One verb a file. Stages meet only in the dataset; none imports a sibling."""
