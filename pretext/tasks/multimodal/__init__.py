"""Tasks across modalities."""
