"""Scheduled work: what is owed when, done exactly once, with a history that says what happened."""
