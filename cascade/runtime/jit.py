"""Loops that are compiled to machine code: the only file that names numba.

Importing numba takes a second, and compiling a function some more when that is done for the
first time on a machine (the result is kept in `__pycache__`, or in `NUMBA_CACHE_DIR`). So a
compiled function lives in a module of its own, which is imported when there is enough to do, and
stands beside a plain one that gives exactly the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_F = TypeVar("_F", bound=Callable[..., Any])


def jit_compile(function: _F) -> _F:
    """Compile a function of arrays and numbers; other threads run while it does.

    Nothing is reordered or contracted, so that its float64 arithmetic is numpy's to the bit.
    """
    return cast(_F, njit(cache=True, nogil=True, error_model="numpy")(function))
