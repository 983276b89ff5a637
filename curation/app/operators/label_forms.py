"""Form inputs for the labels of a dataset."""

from __future__ import annotations

from cascade import taxonomy
from curation.app.operators.forms import Form

DEFAULT_TAXONOMY = "roadwork_core"


def select_taxonomy(form: Form) -> str:
    """Add a choice of a packaged taxonomy or a YAML file."""
    name = form.select(
        "taxonomy",
        "Taxonomy",
        taxonomy.packaged_names(),
        default=DEFAULT_TAXONOMY,
        description="Meaning of the labels: a packaged taxonomy, or a YAML file",
        allow_other=True,
    )
    return str(name)


def add_hold_back(form: Form) -> None:
    """Add a checkbox to hold labels back for the oracle."""
    form.checkbox(
        "hold_back", "Hold labels back", description="To replay a project with the oracle"
    )
