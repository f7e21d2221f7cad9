"""Learning on one domain for another one, which has no labels."""
