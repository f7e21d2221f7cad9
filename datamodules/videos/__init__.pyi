from .clips import Clips as Clips
