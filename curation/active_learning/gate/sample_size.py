"""Size of an evaluation set that can show a gain.

Normal approximation for a paired, one-sided comparison at 95 % confidence and 80 % power. With
d the share of images on which the two ensembles differ, the change of accuracy has a variance of
about d / n. Near a perfect decision, errors on a share e of the images cost MCC
e / (2 pi (1 - pi)) at prevalence pi (from its definition, to first order), so

    n = d ((z_95 + z_80) / (effect 2 pi (1 - pi)))^2

Far from a perfect decision, MCC is less steep and fewer images suffice. Images of one drive are
not independent, so more of them are needed.
"""

from __future__ import annotations

import math

Z = 1.645 + 0.842  # quantiles for 95 % one-sided confidence and 80 % power
DISCORDANT = 0.03  # assumed share of images on which two ensembles differ
EFFECTS = (0.05, 0.02, 0.01)  # changes of MCC


def images_needed(effect: float, *, discordant: float, prevalence: float) -> int:
    """Return the number of images needed to show a gain of `effect` in MCC.

    Args:
        effect: Change of MCC, above 0.
        discordant: Share of images on which the two ensembles differ, in (0, 1].
        prevalence: Share of images whose true answer is yes, in (0, 1).
    """
    slope = 1.0 / (2.0 * prevalence * (1.0 - prevalence))
    return math.ceil(discordant * (Z * slope / effect) ** 2)


def images_needed_like_these(effect: float, *, n: int, deviation: float) -> int:
    """Return the number of images needed, if they are like those of a measured set.

    Args:
        effect: Change of MCC, above 0.
        n: Number of images in the set.
        deviation: Standard deviation of the change of MCC over bootstrap draws of the set.
    """
    return math.ceil(n * (Z * deviation / effect) ** 2)


def explain(*, discordant: float | None, prevalence: float | None) -> str:
    """Return a sentence on the number of images for some effects; None uses an assumption."""
    d = DISCORDANT if discordant is None else discordant
    share = 0.5 if prevalence is None else prevalence
    sizes = [
        f"{effect:g} about {images_needed(effect, discordant=d, prevalence=share):,}"
        for effect in EFFECTS
    ]
    source = "assumed" if discordant is None else "as here"
    mixed = "half of them yes" if prevalence is None else f"{share:.0%} of them yes, as here"
    return (
        f"To show a gain in MCC of {sizes[0]} images are needed, of {sizes[1]}, of {sizes[2]}: "
        f"80 % power, {mixed}, the ensembles differing on {d:.1%} of them ({source}), "
        "each from another drive; more if images share drives."
    )
