"""Asking for a registered version of an ensemble."""

from __future__ import annotations

from curation.app.operators import options
from curation.app.operators.forms import Form


def ask(form: Form, name: str, label: str, *, alias: str, known: dict[str, str]) -> str:
    """Ask for a registered version; propose the one with an alias."""
    default = next((one for one, text in known.items() if alias in text), next(iter(known), None))
    return form.pick(name, label, known, default=default) or ""


def require(form: Form, least: int) -> dict[str, str]:
    """Return the registered versions; refuse where there are too few."""
    known = options.versions(form.ctx.dataset)
    if len(known) < least:
        form.refuse(
            f"{len(known)} ensembles of {form.ctx.dataset.name!r} are registered, {least} are "
            "needed. Run `Curation: publish` first."
        )
    return known
