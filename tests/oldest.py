"""Print the oldest releases that pyproject.toml declares, as constraints for pip: `make test-floors` installs these."""

import re
import tomllib
from itertools import chain
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def floors(project):
    """Pin each requirement that has a lower bound to it, by name; those without one are left to pip."""
    wanted = chain(project["dependencies"], *project["optional-dependencies"].values())
    found = (re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*>=\s*([\w.]+)", requirement) for requirement in wanted)
    return {match[1]: match[2] for match in found if match}


if __name__ == "__main__":
    for name, version in floors(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]).items():
        print(f"{name}=={version}")
