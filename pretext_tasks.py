"""The commands `pretext` and `pretext-tasks`, under the name that the package index knows this project by.

Another project on the index is called `pretext`, and its package has the same name. Where it was installed over this
one, `import pretext` gets it, and this module, which it does not have, can still say so.
"""

from __future__ import annotations

import sys
from types import ModuleType

ANOTHER = """\
pretext-tasks: what Python imports as `pretext`, from {place}, is not this package (it has no Rotation): another \
project on the package index has the same name, or a folder of yours. Let each have an environment of its own, or, to \
have this one here: pip uninstall pretext; pip install --force-reinstall --no-deps pretext-tasks"""


def main() -> int:
    """Run the command line; return its exit code, 1 where another package is in the place of this one."""
    import pretext

    if not is_ours(pretext):
        place = pretext.__file__ or ", ".join(pretext.__path__)
        print(ANOTHER.format(place=place), file=sys.stderr)
        return 1
    from pretext.__main__ import main as run

    return run()


def is_ours(package: ModuleType) -> bool:
    """Tell whether a package that is called pretext is this project's."""
    return "Rotation" in dir(package)
