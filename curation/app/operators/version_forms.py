"""Form inputs for registered versions of an ensemble."""

from __future__ import annotations

from collections.abc import Mapping

from curation.app.operators import options
from curation.app.operators.forms import Form


def select_version(
    form: Form, name: str, label: str, *, alias: str, versions: Mapping[str, str]
) -> str:
    """Add a choice of a registered version; the default is the version with an alias."""
    first = next(iter(versions), None)
    default = next((version for version, text in versions.items() if alias in text), first)
    return form.select(name, label, versions, default=default) or ""


def require_versions(form: Form, minimum: int) -> dict[str, str]:
    """Return the registered versions; add an error if there are too few."""
    dataset = form.ctx.dataset
    versions = options.registered_versions(dataset)
    if len(versions) < minimum:
        form.error(
            f"{dataset.name!r} has {len(versions)} registered ensembles, and {minimum} are "
            "required. Run `Curation: publish` first."
        )
    return versions
