"""How long and how often: what the parts of a worker, and its command, agree on."""

LEASE_S = 30.0  # of silence, after which a run goes to another worker
GRACE_S = 10.0  # for a cancelled run to notice
MOST_ATTEMPTS = 3  # of a run whose worker dies

END, AGAIN = 0, 75  # exit codes of a process: no further; start another in my place
