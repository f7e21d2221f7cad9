from .bouncing import Bouncing as Bouncing
from .bouncing import Videos as Videos
from .hidden import HiddenDigits as HiddenDigits
