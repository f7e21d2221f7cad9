"""Zero-shot task transfer: the weights of a task that nobody has labels for, from those of known tasks.

https://arxiv.org/abs/1903.01092 (Pal and Balasubramanian: TTNet, CVPR 2019)
"""
