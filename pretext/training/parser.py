"""A parser of config files and options that takes those of release 0.1 too."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from omegaconf import OmegaConf
from pytorch_lightning.cli import LightningArgumentParser
from yaml import YAMLError

from pretext.training.options import named_data
from pretext.training.other_data import with_own_data
from pretext.training.renamed import tell, translated


class Parser(LightningArgumentParser):
    """Lightning's parser, which brings each config file to the names of today before it is checked.

    Args:
        known: what all config files and options say together: of which classes the options are.
        silent: name of a file that a program wrote, whose old names nobody is told of.
        other: options that may name other data than that file, which then starts from its own defaults.
        options: those of Lightning's parser.

    """

    def __init__(
        self,
        known: Mapping[str, Any] | None = None,
        silent: str | None = None,
        other: Sequence[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.known, self.silent, self.other = known or {}, silent, other

    def parse_string(self, content: str, path: str | os.PathLike[str] = "", *rest: Any, **options: Any) -> Namespace:
        """Parse the text of a config file; jsonargparse's own signature."""
        try:
            config = OmegaConf.to_container(OmegaConf.create(content))
        except (YAMLError, ValueError):  # broken, which the parser tells of
            config = None
        if isinstance(config, dict):
            new, hints = translated({str(key): value for key, value in config.items()}, self.known)
            if Path(path).name == self.silent and named_data(self.other):
                new = with_own_data(new, self.other)
                content = OmegaConf.to_yaml(OmegaConf.create(new))
            elif hints:
                content = OmegaConf.to_yaml(OmegaConf.create(new))
            if Path(path).name != self.silent:
                tell(hints, Path(path).name)
        parsed: Namespace = super().parse_string(content, path, *rest, **options)
        return parsed
