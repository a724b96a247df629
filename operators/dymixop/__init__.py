"""DyMixOp: local–global mixing on an inertial manifold."""
