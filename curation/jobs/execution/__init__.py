"""Execution of jobs: runner, subprocesses, timeouts and logs."""
