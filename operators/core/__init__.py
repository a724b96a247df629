"""The one interface of all operators: define, step, roll out, save, load."""
