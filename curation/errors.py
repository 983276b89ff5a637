"""What can go wrong on the data side.

* CurationError
  x SettingsError     an environment variable that cannot be meant so
  x DatabaseError     no MongoDB that answers, and none that can be started
  x IngestError       a source that holds no images, or not in the format that was said
  x DatasetError      a dataset, field or sample that is not there
  x StoreError        values that the dataset cannot take, or a database that did not take them
  x StageError        a stage that cannot start, because an earlier one has not run
  x LabelingError     tasks that cannot be sent out, or answers that do not fit them
  x SelectionError    a batch that cannot be chosen as asked
  x EvidenceError     two ensembles whose results cannot be compared
  x PublishError      an ensemble that cannot be registered, promoted or rolled back
  x PluginError       operators that cannot be put where FiftyOne looks for them
  x AppError          an App that cannot be served

Each also inherits the built-in that it is a case of, so `except LookupError` works.
"""


class CurationError(Exception):
    """The root of everything that the data side raises on purpose."""


class SettingsError(CurationError, ValueError):
    """An environment variable holds what cannot be meant."""


class DatabaseError(CurationError, ConnectionError):
    """No MongoDB answers, and none can be started."""


class IngestError(CurationError, ValueError):
    """A source holds no images, or is not in the format that was said."""


class DatasetError(CurationError, LookupError):
    """A dataset, field or sample is not there."""


class StoreError(CurationError, ValueError):
    """The dataset cannot take the values, or the database did not."""


class StageError(CurationError, RuntimeError):
    """A stage cannot start, because what it reads is not there yet."""


class LabelingError(CurationError, ValueError):
    """Tasks cannot be sent out, or answers do not fit the tasks."""


class SelectionError(CurationError, ValueError):
    """A batch cannot be chosen as asked."""


class EvidenceError(CurationError, ValueError):
    """The results of two ensembles cannot be compared."""


class PublishError(CurationError, RuntimeError):
    """An ensemble cannot be registered, promoted or rolled back."""


class PluginError(CurationError, OSError):
    """Our operators cannot be put where FiftyOne looks for them."""


class AppError(CurationError, OSError):
    """The App cannot be served."""
