"""Deprecated names of the public functions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
Result = TypeVar("Result")


def accept_licence(function: Callable[P, Result]) -> Callable[P, Result]:
    """Let a function accept `licence`, the keyword of release 0.1, for `strictest_license`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        if "licence" in kwargs:
            warnings.warn(
                "The keyword `licence` is deprecated. Use `strictest_license`.",
                DeprecationWarning,
                stacklevel=2,
            )
            options: dict[str, Any] = kwargs
            options["strictest_license"] = options.pop("licence")
        return function(*args, **kwargs)

    return call
