"""Do pretext tasks rank architectures as labels do? UnNAS' sample-based experiments (arXiv:2003.12056, section 4)."""
