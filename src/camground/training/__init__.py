"""Training: `loop` fits any network, `matcher` and `grounder` are the two trainings, the other modules the
losses of the grounder, which `objective` sums."""
