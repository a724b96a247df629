"""Start training from a checkpoint."""
