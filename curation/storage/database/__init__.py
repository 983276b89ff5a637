"""MongoDB connection, embedded mongod and leases."""
