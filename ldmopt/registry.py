"""Finding plugins by file name: one module in a folder is one plugin, imported when asked for.

A plugin that fails to import raises; it is never skipped. Modules named in a study's ``plugins``
are imported before knobs are listed, so their knobs join the built-in ones.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from ldmopt.errors import UserError, did_you_mean


def names(package: str) -> list[str]:
    """List the plugin names that a package folder holds, without importing them.

    Args:
        package: dotted name, such as ``"ldmopt.hosts"``.
    """
    folder = importlib.import_module(package)
    return sorted(item.name for item in pkgutil.iter_modules(folder.__path__))


def module(package: str, name: str) -> ModuleType:
    """Import one plugin of a package by its file name.

    Raises:
        UserError: no file of that name.
    """
    known = names(package)
    if name not in known:
        kind = package.rsplit(".", 1)[-1].rstrip("s")
        raise UserError(f"{kind} {name!r} is unknown{did_you_mean(name, known)}")
    return importlib.import_module(f"{package}.{name}")


def load_plugins(modules: Iterable[str]) -> list[ModuleType]:
    """Import the modules that a study names, so that what they declare can be found.

    Raises:
        UserError: a module that cannot be imported, with the reason.
    """
    loaded = []
    for name in modules:
        try:
            loaded.append(importlib.import_module(name))
        except ImportError as error:
            raise UserError(
                f"plugin {name!r} cannot be imported ({error}); "
                "give a module name that Python finds, for example by PYTHONPATH"
            ) from error
    return loaded
