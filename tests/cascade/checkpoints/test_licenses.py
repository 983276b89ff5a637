"""License kinds of SPDX expressions."""

import pytest

from cascade.checkpoints.licenses import KINDS, accepts, kind

NAMES = [
    pytest.param("Apache-2.0", "permissive", id="Apache"),
    pytest.param("MIT", "permissive", id="MIT"),
    pytest.param("ISC", "permissive", id="ISC"),
    pytest.param("BSD-3-Clause", "permissive", id="BSD"),
    pytest.param("bsd-2-clause", "permissive", id="lower case"),
    pytest.param("CC0-1.0", "permissive", id="public domain"),
    pytest.param("CC-BY-4.0", "permissive", id="attribution"),
    pytest.param("AGPL-3.0", "copyleft", id="Affero"),
    pytest.param("AGPL-3.0-or-later", "copyleft", id="Affero, or later"),
    pytest.param("GPL-2.0-only", "copyleft", id="GPL"),
    pytest.param("LGPL-3.0", "copyleft", id="LGPL"),
    pytest.param("MPL-2.0", "copyleft", id="Mozilla"),
    pytest.param("CC-BY-SA-4.0", "copyleft", id="share alike"),
    pytest.param("CC-BY-NC-4.0", "non-commercial", id="non-commercial"),
    pytest.param("CC-BY-NC-SA-4.0", "non-commercial", id="non-commercial and share alike"),
    pytest.param("CC-BY-NC-ND-4.0", "non-commercial", id="non-commercial and no derivatives"),
    pytest.param("CC-BY-ND-4.0", "custom", id="no derivatives"),
    pytest.param("LicenseRef-Research-Only", "non-commercial", id="research"),
    pytest.param("LicenseRef-DINOv3", "custom", id="DINOv3"),
    pytest.param("LicenseRef-SAM", "custom", id="SAM"),
    pytest.param("PML-1.0", "custom", id="paid plan"),
    pytest.param("UNKNOWN", "custom", id="unknown"),
    pytest.param("", "custom", id="empty"),
    pytest.param("MIT OR AGPL-3.0", "permissive", id="more permissive of two"),
    pytest.param("MIT AND CC-BY-NC-4.0", "non-commercial", id="stricter of two"),
    pytest.param("GPL-3.0 OR (MIT AND AGPL-3.0)", "copyleft", id="nested AND"),
    pytest.param("(MIT OR GPL-3.0) AND CC-BY-NC-4.0", "non-commercial", id="nested"),
    pytest.param("GPL-3.0 WITH Classpath-exception-2.0", "copyleft", id="copyleft exception"),
    pytest.param("Apache-2.0 WITH LLVM-exception", "permissive", id="permissive with an exception"),
]


@pytest.mark.parametrize(("expression", "expected"), NAMES)
def test_kind(expression, expected):
    assert kind(expression) == expected


@pytest.mark.parametrize("expression", ["MIT", "AGPL-3.0", "LicenseRef-SAM", "CC-BY-NC-4.0"])
def test_accepts_the_kind_and_more_permissive_ones(expression):
    own = KINDS.index(kind(expression))
    expected = [i >= own for i in range(len(KINDS))]
    assert [accepts(strictest, expression) for strictest in KINDS] == expected
