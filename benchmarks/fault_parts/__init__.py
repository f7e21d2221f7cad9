"""What `benchmarks/faults.py` does to a run and its data: one part, one file."""
