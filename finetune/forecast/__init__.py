"""Roll a checkpoint out: predictions and scores."""
