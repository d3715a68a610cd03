"""Rate limits: the algorithm, what clients are told of it, and the stores that keep the counts."""
