"""Published results that one command repeats: one paper, one file."""
