"""The multiscale operator transformer (scOT, the architecture of Poseidon)."""
