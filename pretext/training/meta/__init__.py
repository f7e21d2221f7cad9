"""Learning to learn: networks that are trained to learn a small task from a few examples."""
