"""Pure tensor moves."""
