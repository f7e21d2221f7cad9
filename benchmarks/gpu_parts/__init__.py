"""What `benchmarks/gpu.py` asks of an accelerator: one part, one file."""
