"""Other projects' backbones and their weights."""
