"""A run on disk: directory, exact training state, log."""
