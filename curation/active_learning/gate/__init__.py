"""Quality gate: statistical checks before promotion, and live monitoring after it."""
