"""Operators that predict and assimilate: the semilinear observer, and any other made to."""
