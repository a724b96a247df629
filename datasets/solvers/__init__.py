"""Numerical methods; know no equation by name."""
