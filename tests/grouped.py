"""Options of data modules by their bare names, for tests that go through many of them."""

from dataclasses import fields, is_dataclass, replace
from inspect import signature


def grouped(module, **options):
    """Put each option that belongs to a group of the class `module` into that group; return its arguments."""
    parameters = signature(module).parameters
    groups = {name: p.default for name, p in parameters.items() if is_dataclass(p.default)}
    arguments = {}
    for name, value in options.items():
        if name in parameters:
            arguments[name] = value
        else:
            (group,) = [group for group, default in groups.items() if name in {f.name for f in fields(default)}]
            arguments[group] = replace(arguments.get(group, groups[group]), **{name: value})
    return arguments
