"""Commands of `curate`, one module per group."""
