"""What a licence lets a user do, from its SPDX name.

Four kinds. They are a first sieve, not legal advice: read the text before you ship.

    permissive       use, change and sell; keep the notice           Apache-2.0, MIT, BSD-3-Clause
    copyleft         what is built on it is passed on likewise       AGPL-3.0, GPL-3.0, CC-BY-SA-4.0
    custom           its own terms, often behind a form to accept    LicenseRef-DINOv3
    non-commercial   research and private use only                   CC-BY-NC-4.0

- [0] SPDX License List, https://spdx.org/licenses
- [1] SPDX 2.3, annex D: licence expressions (`MIT OR GPL-3.0-only`)
"""

from __future__ import annotations

import re
from typing import Literal, get_args

LicenseKind = Literal["permissive", "copyleft", "custom", "non-commercial"]
KINDS: tuple[LicenseKind, ...] = get_args(LicenseKind)
"""From the freest to the strictest; a run that accepts one accepts those before it."""

_PERMISSIVE = re.compile(
    r"0bsd|apache-[12]\.\d|artistic-2\.0|bsd-[1-4]-clause.*|bsl-1\.0|cc0-1\.0|cc-by-\d\.\d|"
    r"cdla-permissive-.*|isc|mit|mit-0|ncsa|odc-by-.*|postgresql|psf-2\.0|unlicense|upl-1\.0|zlib"
)
_COPYLEFT = re.compile(r"(agpl|cc-by-sa|cddl|cecill|epl|eupl|gpl|lgpl|mpl|odbl|osl|sspl)-.*")
_NON_COMMERCIAL = re.compile(r"(.*-)?nc(-.*)?|.*(non-?commercial|research-?only).*")


def kind(licence: str) -> LicenseKind:
    """Return the kind of an SPDX name or expression; what is not known is `custom`.

    Of alternatives (`A OR B`) the freest counts. As soon as terms hold together (`AND`, or
    parentheses), the strictest of all counts: rather too strict than too free.
    """
    terms = [_of_one(term) for term in re.split(r"\s+(?:AND|OR)\s+", licence)]
    free = "(" not in licence and not re.search(r"\sAND\s", licence)
    return (min if free else max)(terms, key=KINDS.index)


def accepts(wanted: LicenseKind, licence: str) -> bool:
    """Return whether a run that accepts licences up to the kind `wanted` may use this one."""
    return KINDS.index(kind(licence)) <= KINDS.index(wanted)


def _of_one(licence: str) -> LicenseKind:
    name = re.split(r"\s+WITH\s+", licence.strip("() "))[0].casefold()  # they only permit more
    if _NON_COMMERCIAL.fullmatch(name):
        return "non-commercial"
    if _PERMISSIVE.fullmatch(name):
        return "permissive"
    return "copyleft" if _COPYLEFT.fullmatch(name) else "custom"
