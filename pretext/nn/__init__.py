"""Parts that tasks share: losses, weightings, teachers, heads."""
