"""Observations to analysis and forecast."""
