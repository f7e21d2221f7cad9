"""Functions of embedded data: embed once through every stage, then compare what the stages know."""
