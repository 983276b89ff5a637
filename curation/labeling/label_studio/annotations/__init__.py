"""Conversion of Label Studio annotations to boxes of the taxonomy."""
