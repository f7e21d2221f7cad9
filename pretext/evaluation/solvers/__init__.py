"""What protocols fit with."""
