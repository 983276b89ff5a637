"""BSON encoding and decoding by compiled code."""
