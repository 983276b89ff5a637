"""Exceptions of the model side.

* CascadeError
  x UnknownModelError     a name without a registered adapter
  x DuplicateModelError   a name that is already registered
  x MissingExtraError     an adapter whose package is not installed
  x BadPredictionsError   arrays that are inconsistent or out of range
  x TaxonomyError         an inconsistent taxonomy
  x ManifestError         a manifest with a wrong value
  x CheckpointError       weights that are missing, damaged, or not the expected ones
  x ServerError           a model server that is down, too slow, or returns invalid answers
  x ImageError            a file that is not a complete image
  x TrainingError         a fit that cannot start, or diverges

Each class also inherits the matching built-in exception, so `except LookupError` works.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CascadeError(Exception):
    """Base class of all exceptions that the model side raises deliberately."""


class UnknownModelError(CascadeError, LookupError):
    """A requested adapter is not registered."""

    def __init__(self, name: str, registered: Iterable[str]) -> None:
        super().__init__(f"No adapter is named {name!r}. {nearest(name, registered)}")


class DuplicateModelError(CascadeError, ValueError):
    """An adapter name is registered twice."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"An adapter named {name!r} is already registered. Choose another name, "
            "for example one that ends in a version."
        )


class MissingExtraError(CascadeError, ImportError):
    """An adapter requires a package that is not installed."""

    def __init__(self, adapter: str, package: str, install: str | None = None) -> None:
        self.package = package
        command = install or f"pip install 'cascade-curation[{package}]'"
        super().__init__(
            f"The adapter {adapter!r} requires the package {package!r}, which is not installed. "
            f"Install it with `{command}`, or remove the member from the manifest."
        )


class BadPredictionsError(CascadeError, ValueError):
    """Arrays are inconsistent, or contain values out of range."""


class TaxonomyError(CascadeError, ValueError):
    """A taxonomy is inconsistent."""


class ManifestError(CascadeError, ValueError):
    """A manifest contains a wrong value; the message has the path to it."""


class CheckpointError(CascadeError, ValueError):
    """Weights are missing, damaged, or not the expected ones."""


class ServerError(CascadeError, ConnectionError):
    """A model server is down, too slow, or returns invalid answers."""


class ImageError(CascadeError, ValueError):
    """A file cannot be read as a complete image."""


class TrainingError(CascadeError, ValueError):
    """A fit cannot start, or diverges."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a sentence with the closest valid names, or with all of them if none is close."""
    choices = sorted(names)
    close = get_close_matches(name, choices, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    return f"Known: {', '.join(choices) or 'none'}."
