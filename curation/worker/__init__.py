"""Runs what the App has queued: oldest first, one warm process per GPU, each under a lease.

`queue` is the database side, `process` one process that works, `crew` keeps the processes alive,
`runs` tells people what became of their operations.
"""
