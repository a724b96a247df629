"""What of an operator is trained when it starts from a checkpoint: one file per method."""
