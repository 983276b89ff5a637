"""The data side: moves what the cascade says into the dataset and back.

For notebooks and scripts, every stage is one function of this package:

    import curation as cu

    dataset = cu.load("site")  # or any dataset that FiftyOne has loaded
    cu.predict(dataset, manifest="tiny")
    cu.score(dataset)
    cu.choose(dataset, budget=200)

Nothing is imported before it is asked for, so that `import curation` costs nothing.
"""

from __future__ import annotations

import sys
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
    from curation.api.stages import adopt, choose, distil, embed, ingest, predict, score

__all__ = [
    "adopt", "choose", "compare", "demo_dataset", "distil", "embed", "ensemble", "evaluate",
    "history", "ingest", "label", "load", "pictures", "plots", "predict", "preview", "promote",
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
    "stages": ("adopt", "choose", "distil", "embed", "ingest", "predict", "score"),
}  # fmt: skip
_HOMES = {verb: module for module, verbs in _VERBS.items() for verb in verbs}

_MOVED = {
    "plots": "curation.api.plots",
    "pictures": "curation.api.plots",  # the name of release 0.1, deprecated
    # Imported by the MLflow models of ensembles that release 0.1 registered.
    "file_hashes": "curation.tracking.registry.checksums",
}


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        return import_module(_MOVED[name])
    if name in _HOMES:
        return getattr(import_module(f"curation.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package. Two of its folders bear the name of a verb; its attribute is the verb.

    The import system sets a folder as an attribute once it is imported. Were that let, `cu.report`
    would be a function or a module, depending on what had been imported before.
    """

    @property
    def ingest(self) -> Any:
        return __getattr__("ingest")

    @ingest.setter
    def ingest(self, folder: ModuleType) -> None:
        """Leave the folder where the import system finds it, in `sys.modules`."""

    @property
    def report(self) -> Any:
        return __getattr__("report")

    @report.setter
    def report(self, folder: ModuleType) -> None:
        """Leave the folder where the import system finds it, in `sys.modules`."""


sys.modules[__name__].__class__ = _Package
