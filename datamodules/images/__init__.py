"""Sets of pictures: in class folders, in any folder, or in the files of a published set."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
