"""Learn from many PDEs: objective, loop, resume, tracking."""
