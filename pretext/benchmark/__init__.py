"""Benchmarks of several runs: what a YAML names is trained, probed and ranked."""
