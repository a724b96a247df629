"""Look at datasets, check and rewrite them."""
