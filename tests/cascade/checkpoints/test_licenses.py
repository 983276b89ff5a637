"""Licences: what kind each one is, and what a run that accepts a kind may use."""

import pytest

from cascade.checkpoints.licenses import KINDS, accepts, kind

NAMES = [
    pytest.param("Apache-2.0", "permissive", id="Apache"),
    pytest.param("MIT", "permissive", id="MIT"),
    pytest.param("ISC", "permissive", id="ISC"),
    pytest.param("BSD-3-Clause", "permissive", id="BSD"),
    pytest.param("bsd-2-clause", "permissive", id="case does not count"),
    pytest.param("CC0-1.0", "permissive", id="public domain"),
    pytest.param("CC-BY-4.0", "permissive", id="attribution"),
    pytest.param("AGPL-3.0", "copyleft", id="Affero"),
    pytest.param("AGPL-3.0-or-later", "copyleft", id="Affero, or later"),
    pytest.param("GPL-2.0-only", "copyleft", id="GPL"),
    pytest.param("LGPL-3.0", "copyleft", id="LGPL"),
    pytest.param("MPL-2.0", "copyleft", id="Mozilla"),
    pytest.param("CC-BY-SA-4.0", "copyleft", id="share alike"),
    pytest.param("CC-BY-NC-4.0", "non-commercial", id="not for money"),
    pytest.param("CC-BY-NC-SA-4.0", "non-commercial", id="not for money and share alike"),
    pytest.param("CC-BY-NC-ND-4.0", "non-commercial", id="not for money and unchanged"),
    pytest.param("CC-BY-ND-4.0", "custom", id="unchanged"),
    pytest.param("LicenseRef-Research-Only", "non-commercial", id="research"),
    pytest.param("LicenseRef-DINOv3", "custom", id="its own"),
    pytest.param("LicenseRef-SAM", "custom", id="its own, too"),
    pytest.param("PML-1.0", "custom", id="a plan that is paid for"),
    pytest.param("UNKNOWN", "custom", id="unknown"),
    pytest.param("", "custom", id="nothing"),
    pytest.param("MIT OR AGPL-3.0", "permissive", id="the freer of two"),
    pytest.param("MIT AND CC-BY-NC-4.0", "non-commercial", id="the stricter of two"),
    pytest.param("GPL-3.0 OR (MIT AND AGPL-3.0)", "copyleft", id="nested"),
    pytest.param("(MIT OR GPL-3.0) AND CC-BY-NC-4.0", "non-commercial", id="nested, at first free"),
    pytest.param("GPL-3.0 WITH Classpath-exception-2.0", "copyleft", id="still copyleft"),
    pytest.param("Apache-2.0 WITH LLVM-exception", "permissive", id="an exception permits more"),
]


@pytest.mark.parametrize(("licence", "expected"), NAMES)
def test_the_kind_of_a_licence(licence, expected):
    assert kind(licence) == expected


@pytest.mark.parametrize("licence", ["MIT", "AGPL-3.0", "LicenseRef-SAM", "CC-BY-NC-4.0"])
def test_who_accepts_a_kind_accepts_the_freer_ones_and_no_stricter(licence):
    own = KINDS.index(kind(licence))
    assert [accepts(one, licence) for one in KINDS] == [i >= own for i in range(len(KINDS))]
