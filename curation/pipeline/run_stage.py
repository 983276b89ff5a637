"""Single stages, each followed by one refresh of the App's colors, saved views and figures.

Stages themselves know nothing of the App: a script that calls one directly skips the refresh.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from curation.presentation import refresh
from curation.stages.ingest import IngestResult, ingest
from curation.storage import queries

if TYPE_CHECKING:
    from fiftyone.core.collections import SampleCollection

P = ParamSpec("P")
Samples = TypeVar("Samples", bound="SampleCollection")
Result = TypeVar("Result")


def run_stage(
    stage: Callable[Concatenate[Samples, P], Result],
    samples: Samples,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Result:
    """Run one stage, refresh the App's view of the dataset, and return the stage's result.

    Args:
        stage: Function of `curation.stages`.
        samples: A FiftyOne dataset or view, the stage's first argument.
        *args: Further arguments of the stage.
        **kwargs: Likewise.
    """
    result = stage(samples, *args, **kwargs)
    refresh.after_stage(samples)
    return result


def _refreshed(stage: Callable[P, IngestResult]) -> Callable[P, IngestResult]:
    @wraps(stage)
    def run(*args: P.args, **kwargs: P.kwargs) -> IngestResult:
        result = stage(*args, **kwargs)
        refresh.after_stage(queries.load_dataset(result.dataset))
        return result

    return run


run_ingest = _refreshed(ingest)
