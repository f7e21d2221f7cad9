"""Parts of `few_shot.py`."""
