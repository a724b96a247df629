"""Arrays to trajectories, one file per layout."""
