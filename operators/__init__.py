"""Maps between fields: define, step, roll out, save, load."""
