from .classes import HeldClasses as HeldClasses
from .episodes import Episodes as Episodes
from .episodic import Counts as Counts
from .sinusoids import Sinusoids as Sinusoids
