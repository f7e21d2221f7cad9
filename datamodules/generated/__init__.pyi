from .bouncing import Bouncing as Bouncing
