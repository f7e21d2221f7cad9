"""Tasks that bring other tasks to other data."""
