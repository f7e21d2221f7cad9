"""The outer search: which mixture of tasks and distillations is worth training on, found without labels."""
