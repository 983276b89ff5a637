"""Student of an ensemble: its recipe, license and manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade import manifest, registry
from cascade.ensemble import Ensemble
from cascade.runtime.atomic_files import atomic_write_text
from cascade.taxonomy import Taxonomy

NAME = "student"  # name of the manifest and its member


@dataclass(frozen=True)
class Recipe:
    """Architecture and training of a student. The defaults are measured.

    Attributes:
        adapter: Adapter that builds it.
        head: Name of the head.
        width: Channels of the feature maps.
        size: Height and width of the input in pixels; a multiple of 32.
        learning_rates: Highest rates, on ground truth and then on the ensemble's predictions.
        batch_size: Images per step.
        licence: SPDX license of the initial weights.
    """

    adapter: str = "tuned_trunk"
    head: str = "center_point"
    width: int = 128
    size: int = 416
    learning_rates: tuple[float, float] = (1.5e-3, 1e-3)
    batch_size: int = 16
    licence: str = "MIT"

    def build(self, classes: Sequence[str], *, seed: int) -> Any:
        """Return an untrained student."""
        return registry.create(
            self.adapter, classes=classes, seed=seed, head=self.head, width=self.width,
            size=self.size,
        )  # fmt: skip


STUDENT = Recipe()


def license_expression(recipe: Recipe, teacher: Ensemble | None) -> str:
    """Return the licenses of everything that a student was made from, as an SPDX expression.

    Args:
        recipe: Recipe of the student.
        teacher: Ensemble whose predictions it learned from; None if there is no teacher.
    """
    licenses = {recipe.licence}
    if teacher:
        licenses |= {teacher.manifest.member(name).license for name in teacher.detectors}
    return " AND ".join(f"({name})" if " OR " in name else name for name in sorted(licenses))


def write_manifest(
    file: Path, checkpoint: Path, recipe: Recipe, *, licence: str, taxonomy: Taxonomy
) -> None:
    """Write the manifest of a student, and its taxonomy to the same folder."""
    taxonomy_file = file.with_name("taxonomy.yaml")
    member = {
        "name": NAME, "tier": "detection", "adapter": recipe.adapter, "source": str(checkpoint),
        "license": licence, "batch_size": recipe.batch_size,
    }  # fmt: skip
    content = manifest.Manifest.model_validate(
        {"name": NAME, "taxonomy": str(taxonomy_file), "members": [member]}
    )
    atomic_write_text(taxonomy_file, taxonomy.to_yaml())
    atomic_write_text(file, content.to_yaml())
