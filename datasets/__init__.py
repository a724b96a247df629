"""What a field is: describe, read, simulate, compare."""
