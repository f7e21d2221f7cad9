"""Decoded files that are kept, in memory or on disk, so that they are decoded once."""
