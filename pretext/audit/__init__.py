"""What answers a puzzle without seeing: destroyed controls, trivial statistics, and what they say of a task.

Each control takes something from the puzzles of a task, or keeps nothing but one trivial clue. A small network, or the
task's own head on a few numbers, is trained on what is left, on training items, and scored on held-out ones.
"""
