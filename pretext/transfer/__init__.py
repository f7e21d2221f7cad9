"""Which task helps which: affinities, what to train on a budget, and what can be predicted without running it."""
