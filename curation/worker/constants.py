"""Durations, limits and exit codes of workers."""

LEASE_S = 30.0  # silence after which a run goes to another worker
GRACE_S = 10.0  # time for a canceled run to stop
MAX_ATTEMPTS = 3  # for a run whose workers die

EXIT_DONE, EXIT_RESTART = 0, 75  # exit codes of a worker process
