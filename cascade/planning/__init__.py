"""Memory and time estimates of members, and their placement on devices."""
