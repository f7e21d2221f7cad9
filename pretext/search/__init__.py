"""The search for the mixture of tasks that is worth training on, without labels."""
