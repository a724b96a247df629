"""Everything downstream of a checkpoint: adapt, predict, evaluate, report."""
