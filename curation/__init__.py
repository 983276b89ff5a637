"""Data side of the cascade: curation of FiftyOne datasets.

For notebooks and scripts, every stage is one function of this package:

    import curation as cu

    dataset = cu.load("site")  # or a dataset loaded by FiftyOne
    cu.predict(dataset, manifest="tiny")
    cu.score(dataset)
    cu.choose(dataset, budget=200)

`import curation` is cheap: functions are imported on first access.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curation.api import plots
    from curation.api.datasets import demo_dataset, ensemble, load
    from curation.api.labeling import preview, pull, push, review
    from curation.api.registry import compare, history, promote, rollback, versions
    from curation.api.rounds import (
        evaluate,
        label,
        publish,
        report,
        reproduce,
        run_round,
        train,
        withdraw,
    )
    from curation.api.stages import adopt, choose, distill, embed, ingest, predict, score

__all__ = [
    "adopt", "choose", "compare", "demo_dataset", "distill", "embed", "ensemble", "evaluate",
    "history", "ingest", "label", "load", "plots", "predict", "preview", "promote",
    "publish", "pull", "push", "report", "reproduce", "review", "rollback", "run_round", "score",
    "train", "versions", "withdraw",
]  # fmt: skip

_VERBS = {
    "labeling": ("preview", "pull", "push", "review"),
    "datasets": ("demo_dataset", "ensemble", "load"),
    "registry": ("compare", "history", "promote", "rollback", "versions"),
    "rounds": (
        "evaluate", "label", "publish", "report", "reproduce", "run_round", "train", "withdraw",
    ),
    "stages": ("adopt", "choose", "distill", "embed", "ingest", "predict", "score"),
}  # fmt: skip
_HOMES = {verb: module for module, verbs in _VERBS.items() for verb in verbs}

_MODULES = {
    "plots": "curation.api.plots",
    # Imported by the MLflow models of ensembles that release 0.1 registered.
    "file_hashes": "curation.tracking.registry.checksums",
}
_DEPRECATED = {"distil": "distill", "pictures": "plots"}  # names of release 0.1


def __getattr__(name: str) -> Any:
    if name in _DEPRECATED:
        current = _DEPRECATED[name]
        message = f"`curation.{name}` is deprecated. Use `curation.{current}`."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        name = current
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(import_module(f"curation.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package, whose attributes `ingest` and `report` are functions, not subpackages.

    Importing a subpackage sets it as an attribute. Without these properties, `cu.report` would be
    a function or a module, depending on earlier imports.
    """

    @property
    def ingest(self) -> Any:
        return __getattr__("ingest")

    @ingest.setter
    def ingest(self, subpackage: ModuleType) -> None:
        """Ignore the subpackage, which stays in `sys.modules`."""

    @property
    def report(self) -> Any:
        return __getattr__("report")

    @report.setter
    def report(self, subpackage: ModuleType) -> None:
        """Ignore the subpackage, which stays in `sys.modules`."""


sys.modules[__name__].__class__ = _Package
