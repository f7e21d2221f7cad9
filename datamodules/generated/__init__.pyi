from .bouncing import Bouncing as Bouncing
from .bouncing import Videos as Videos
from .drawn import Generated as Generated
