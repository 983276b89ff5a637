"""How many images an evaluation set must hold before a gain can be shown.

Standard normal approximation for a paired comparison, one-sided, at 95 % confidence and 80 %
power. With d the share of images on which the two ensembles differ, the change of accuracy has
a variance of about d / n. Near a perfect decision an error of a share e of the images costs
MCC e / (2 pi (1 - pi)) at prevalence pi (from its definition, to first order), so

    n = d ((z_95 + z_80) / (effect 2 pi (1 - pi)))^2

For a decision that is far from perfect MCC is less steep and fewer images do. Images of one
drive are no independent evidence: of those, more are needed.
"""

from __future__ import annotations

import math

Z = 1.645 + 0.842  # of 95 % one-sided confidence and of 80 % power
DISCORDANT = 0.03  # assumed share of images on which two ensembles differ, where unmeasured
EFFECTS = (0.05, 0.02, 0.01)  # changes of MCC


def images_needed(effect: float, *, discordant: float, prevalence: float) -> int:
    """Return the images that it takes to show a gain of `effect` in MCC.

    Args:
        effect: Change of MCC, above 0.
        discordant: Share of images on which the two ensembles differ, in (0, 1].
        prevalence: Share of images whose true answer is yes, in (0, 1).
    """
    slope = 1.0 / (2.0 * prevalence * (1.0 - prevalence))
    return math.ceil(discordant * (Z * slope / effect) ** 2)


def images_needed_like_these(effect: float, *, n: int, deviation: float) -> int:
    """Return the images that it takes, of the kind of the n on which the change was measured.

    Args:
        effect: Change of MCC, above 0.
        n: Images in the set.
        deviation: Standard deviation of the change of MCC over bootstrap draws of the set.
    """
    return math.ceil(n * (Z * deviation / effect) ** 2)


def explain(*, discordant: float | None, prevalence: float | None) -> str:
    """Return a sentence on how many images show which effect; None where not measured."""
    d = DISCORDANT if discordant is None else discordant
    share = 0.5 if prevalence is None else prevalence
    sizes = [
        f"{effect:g} about {images_needed(effect, discordant=d, prevalence=share):,}"
        for effect in EFFECTS
    ]
    how = "assumed" if discordant is None else "as here"
    mixed = "half of them yes" if prevalence is None else f"{share:.0%} of them yes, as here"
    return (
        f"To show a gain in MCC of {sizes[0]} images are needed, of {sizes[1]}, of {sizes[2]}: "
        f"80 % power, {mixed}, the ensembles differing on {d:.1%} of them ({how}), "
        "each of a drive of its own; more where drives repeat themselves."
    )
