"""One component of every kind that other packages can add to Pelagos; see docs/extending.md."""
