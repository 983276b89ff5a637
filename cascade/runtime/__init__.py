"""Process-level support: atomic files, just-in-time compilation, CPU threads, progress."""
