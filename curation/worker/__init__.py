"""Execution of the App's queued operations: oldest first, one warm process per GPU.

`queue` is the database side, `process` one working process, `supervisor` restarts processes, and
`run_history` lists, cancels and repeats operations.
"""
