"""Exceptions of the data side.

* CurationError
  x SettingsError     an invalid environment variable
  x DatabaseError     a MongoDB that neither answers nor starts
  x IngestError       a source without images, or in another format than stated
  x DatasetError      a dataset, field or sample that does not exist
  x StoreError        values that the dataset or database rejects
  x StageError        a stage that cannot start, because its input is missing
  x LabelingError     tasks that cannot be sent, or answers that do not match them
  x SelectionError    a batch that cannot be chosen as requested
  x EvidenceError     two ensembles whose results cannot be compared
  x PublishError      an ensemble that cannot be registered, promoted or rolled back
  x PluginError       plugins that cannot be installed for FiftyOne
  x AppError          an App that cannot be served

Each also inherits the related built-in exception: `except LookupError` works.
"""


class CurationError(Exception):
    """Base class of the exceptions that the data side raises."""


class SettingsError(CurationError, ValueError):
    """An environment variable is invalid."""


class DatabaseError(CurationError, ConnectionError):
    """MongoDB neither answers nor starts."""


class IngestError(CurationError, ValueError):
    """A source holds no images, or has another format than stated."""


class DatasetError(CurationError, LookupError):
    """A dataset, field or sample does not exist."""


class StoreError(CurationError, ValueError):
    """The dataset or the database rejects values."""


class StageError(CurationError, RuntimeError):
    """A stage cannot start, because its input is missing."""


class LabelingError(CurationError, ValueError):
    """Tasks cannot be sent, or answers do not match the tasks."""


class SelectionError(CurationError, ValueError):
    """A batch cannot be chosen as requested."""


class EvidenceError(CurationError, ValueError):
    """The results of two ensembles cannot be compared."""


class PublishError(CurationError, RuntimeError):
    """An ensemble cannot be registered, promoted or rolled back."""


class PluginError(CurationError, OSError):
    """Plugins cannot be installed where FiftyOne looks for them."""


class AppError(CurationError, OSError):
    """The App cannot be served."""
