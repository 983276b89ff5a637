"""Kinds of licenses, from SPDX names.

The four kinds are a coarse filter, not legal advice: read the license before you ship.

    permissive       use, modify and sell; keep the notice           Apache-2.0, MIT, BSD-3-Clause
    copyleft         derived works need the same license             AGPL-3.0, GPL-3.0, CC-BY-SA-4.0
    custom           individual terms, often behind a consent form   LicenseRef-DINOv3
    non-commercial   research and private use only                   CC-BY-NC-4.0

- [0] SPDX License List, https://spdx.org/licenses
- [1] SPDX 2.3, annex D: license expressions (`MIT OR GPL-3.0-only`)
"""

from __future__ import annotations

import re
from typing import Literal, get_args

LicenseKind = Literal["permissive", "copyleft", "custom", "non-commercial"]
KINDS: tuple[LicenseKind, ...] = get_args(LicenseKind)
"""From the most permissive to the strictest; accepting one accepts all before it."""

_PERMISSIVE = re.compile(
    r"0bsd|apache-[12]\.\d|artistic-2\.0|bsd-[1-4]-clause.*|bsl-1\.0|cc0-1\.0|cc-by-\d\.\d|"
    r"cdla-permissive-.*|isc|mit|mit-0|ncsa|odc-by-.*|postgresql|psf-2\.0|unlicense|upl-1\.0|zlib"
)
_COPYLEFT = re.compile(r"(agpl|cc-by-sa|cddl|cecill|epl|eupl|gpl|lgpl|mpl|odbl|osl|sspl)-.*")
_NON_COMMERCIAL = re.compile(r"(.*-)?nc(-.*)?|.*(non-?commercial|research-?only).*")


def kind(expression: str) -> LicenseKind:
    """Return the kind of an SPDX name or expression; `custom` if it is unknown.

    Of alternatives (`A OR B`) the most permissive counts. An expression with `AND` or
    parentheses counts as its strictest term, which is conservative.
    """
    terms = [_term_kind(term) for term in re.split(r"\s+(?:AND|OR)\s+", expression)]
    are_alternatives = "(" not in expression and not re.search(r"\sAND\s", expression)
    return (min if are_alternatives else max)(terms, key=KINDS.index)


def accepts(strictest: LicenseKind, expression: str) -> bool:
    """Return whether a license is of the kind `strictest` or a more permissive one."""
    return KINDS.index(kind(expression)) <= KINDS.index(strictest)


def _term_kind(term: str) -> LicenseKind:
    name = re.split(r"\s+WITH\s+", term.strip("() "))[0].casefold()  # exceptions only permit more
    if _NON_COMMERCIAL.fullmatch(name):
        return "non-commercial"
    if _PERMISSIVE.fullmatch(name):
        return "permissive"
    return "copyleft" if _COPYLEFT.fullmatch(name) else "custom"
