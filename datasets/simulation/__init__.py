"""Equations into datasets."""
