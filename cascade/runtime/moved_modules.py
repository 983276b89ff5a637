"""Former names of modules, for code that was stored with them.

A registered ensemble contains the source of its MLflow model, which imports modules by the names
of the release that registered it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class MovedModules(MetaPathFinder, Loader):
    """Import hook that serves a module under its former name.

    Args:
        names: Current module name by former name.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return a spec for a former name, None for any other."""
        return ModuleSpec(fullname, self) if fullname in self._names else None

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with the content of the current one."""
        current = vars(import_module(self._names[module.__name__]))
        vars(module).update({k: v for k, v in current.items() if not k.startswith("__")})


def install(names: Mapping[str, str]) -> None:
    """Serve modules under their former names, in this process."""
    sys.meta_path.append(MovedModules(names))
