"""What can go wrong on the model side.

* CascadeError
  x UnknownModelError     a name that no adapter has registered
  x DuplicateModelError   a name that is registered already
  x MissingExtraError     an adapter whose package is not installed
  x BadPredictionsError   arrays that do not fit together, or leave their range
  x TaxonomyError         a taxonomy file that does not hold together
  x ManifestError         a manifest with a wrong value, and the path to it
  x CheckpointError       weights that are absent, or not those that were announced
  x ServerError           a model's server that is down, too slow, or answers nonsense
  x ImageError            bytes that are no whole image
  x TrainingError         a fit that cannot start, or went astray

Each also inherits the built-in that it is a case of, so `except LookupError` works.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class CascadeError(Exception):
    """The root of everything that the model side raises on purpose."""


class UnknownModelError(CascadeError, LookupError):
    """A model was asked for by a name that nobody registered."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"No adapter is named {name!r}. {nearest(name, known)}")


class DuplicateModelError(CascadeError, ValueError):
    """A name was registered twice."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"An adapter named {name!r} is registered already. Choose another name, "
            "for example one that ends in a version."
        )


class MissingExtraError(CascadeError, ImportError):
    """An adapter needs a package that is not installed here."""

    def __init__(self, adapter: str, package: str, install: str | None = None) -> None:
        self.package = package
        command = install or f"pip install 'cascade-curation[{package}]'"
        super().__init__(
            f"The adapter {adapter!r} needs the package {package!r}, which is not installed. "
            f"Install it with `{command}`, or leave the member out of the manifest."
        )


class BadPredictionsError(CascadeError, ValueError):
    """Arrays do not fit together, or hold values outside their range."""


class TaxonomyError(CascadeError, ValueError):
    """A taxonomy does not hold together."""


class ManifestError(CascadeError, ValueError):
    """A manifest holds a wrong value; the message gives the path to it."""


class CheckpointError(CascadeError, ValueError):
    """Weights are absent, or not those that were announced."""


class ServerError(CascadeError, ConnectionError):
    """A model's server is down, too slow, or answers nonsense."""


class ImageError(CascadeError, ValueError):
    """Bytes are not a whole image that can be read."""


class TrainingError(CascadeError, ValueError):
    """A fit cannot start, or went astray."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest known names, or lists them all."""
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(repr(one) for one in close)}?"
    return f"Known: {', '.join(names) or 'none'}."
