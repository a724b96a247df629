"""Many files as one dataset."""
