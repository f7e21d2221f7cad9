from .sounds import Sounds as Sounds
