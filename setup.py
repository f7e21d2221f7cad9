"""What `pyproject.toml` cannot say: the configs go into the wheel as `pretext/configs`."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """Copy `configs` into the package that is built; in a checkout they are found beside it."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for file in sorted(Path("configs").rglob("*.yaml")):
                target = Path(self.build_lib) / "pretext" / file
                self.mkpath(str(target.parent))
                self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": WithConfigs})
