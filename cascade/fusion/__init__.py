"""Fusion of member predictions: votes, clustering, consensus, calibration and routing."""
