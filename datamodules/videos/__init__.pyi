from .clips import Clips as Clips
from .clips import Disk as Disk
from .cutting import Windows as Windows
