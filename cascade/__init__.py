"""The model side: images in, predictions out, independent of FiftyOne.

    import cascade

    ensemble = cascade.Ensemble.from_manifest("tiny")
    verdict = cascade.Predictor(ensemble).predict([cascade.read("street.jpg")])[0]
    verdict.yes, verdict.objects.labels

The names are imported lazily.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cascade.runtime import moved_modules

if TYPE_CHECKING:
    from cascade.ensemble import Ensemble
    from cascade.imaging.batches import read
    from cascade.inference.predictor import Predictor
    from cascade.predictions import Detections
    from cascade.registry import register

__all__ = ["Detections", "Ensemble", "Predictor", "read", "register"]

_MODULES = {
    "Detections": "predictions",
    "Ensemble": "ensemble",
    "Predictor": "inference.predictor",
    "read": "imaging.batches",
    "register": "registry",
}

# Imported by the MLflow models of ensembles that release 0.1 registered.
moved_modules.install(
    {
        "cascade.images": "cascade.imaging.batches",
        "cascade.predictor": "cascade.inference.predictor",
    }
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"cascade.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
