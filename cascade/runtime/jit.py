"""Just-in-time compilation of loops. The only file that imports numba.

Importing numba takes a second, and the first compilation on a machine some more (the result is
cached in `__pycache__`, or in `NUMBA_CACHE_DIR`). Compiled functions therefore live in separate
modules, imported only for large inputs; a plain function with identical results serves the small
ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

_F = TypeVar("_F", bound=Callable[..., Any])


def jit_compile(function: _F) -> _F:
    """Compile a function of arrays and numbers; it releases the GIL.

    Operations are neither reordered nor contracted: float64 results equal NumPy's bit by bit.
    """
    return cast(_F, njit(cache=True, nogil=True, error_model="numpy")(function))
