"""The student of an ensemble: what it is, how it learns, and the manifest of it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade import manifest, registry
from cascade import taxonomy as taxonomies
from cascade.ensemble import Ensemble
from cascade.runtime.atomic_files import atomic_write_text
from cascade.taxonomy import Taxonomy

NAME = "student"  # of the manifest and of its member


@dataclass(frozen=True)
class Recipe:
    """What a student is, and how it learns. The defaults are those that were measured.

    Attributes:
        adapter: What builds it.
        head: Its head.
        width: Channels of its maps.
        size: Height and width that images are stretched to, in pixels; a multiple of 32.
        learning_rates: The highest, on the ground truth and then on the lesson.
        batch_size: Images of a step.
        licence: SPDX name of the weights that it starts from.
    """

    adapter: str = "tuned_trunk"
    head: str = "center_point"
    width: int = 128
    size: int = 416
    learning_rates: tuple[float, float] = (1.5e-3, 1e-3)
    batch_size: int = 16
    licence: str = "MIT"

    def build(self, classes: Sequence[str], *, seed: int) -> Any:
        """Return a student that has learned nothing yet."""
        return registry.create(
            self.adapter, classes=classes, seed=seed, head=self.head, width=self.width,
            size=self.size,
        )  # fmt: skip


STUDENT = Recipe()


def license_expression(recipe: Recipe, teacher: Ensemble | None) -> str:
    """Return the licences of all that a student was made from, as one SPDX expression.

    Args:
        recipe: Of the student.
        teacher: Whose detectors taught it; None where nothing that they said is in it.
    """
    of_all = {recipe.licence}
    if teacher:
        of_all |= {teacher.manifest.member(one).licence for one in teacher.detectors}
    return " AND ".join(f"({one})" if " OR " in one else one for one in sorted(of_all))


def write_manifest(
    file: Path, checkpoint: Path, recipe: Recipe, *, licence: str, taxonomy: Taxonomy
) -> None:
    """Write the manifest of a student alone, and its taxonomy beside it."""
    beside = file.with_name("taxonomy.yaml")
    member = {
        "name": NAME, "tier": "detection", "adapter": recipe.adapter, "source": str(checkpoint),
        "licence": licence, "batch_size": recipe.batch_size,
    }  # fmt: skip
    made = manifest.Manifest.model_validate(
        {"name": NAME, "taxonomy": str(beside), "members": [member]}
    )
    atomic_write_text(beside, taxonomies.to_yaml(taxonomy))
    atomic_write_text(file, manifest.to_yaml(made))
