"""Trajectories into training windows."""
