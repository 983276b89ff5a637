"""FiftyOne views as MLflow dataset sources."""

from __future__ import annotations

from typing import Any

from mlflow.data.dataset_source import DatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag

from curation.tracking.run_contents import DataInput

_CONTEXT = "mlflow.data.context"  # tag that MLflow's UI displays


class FiftyOneSource(DatasetSource):  # type: ignore[misc] # MLflow is not typed
    """Samples of a FiftyOne dataset: all of them, or those with a tag."""

    def __init__(self, dataset: str, tag: str, round_number: int) -> None:
        self.dataset, self.tag, self.round_number = dataset, tag, round_number

    @staticmethod
    def _get_source_type() -> str:
        return "fiftyone"

    def load(self) -> Any:
        """Return the FiftyOne view."""
        import fiftyone as fo

        dataset = fo.load_dataset(self.dataset)
        return dataset.match_tags(self.tag) if self.tag else dataset.view()

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return isinstance(raw_source, FiftyOneSource)

    @classmethod
    def _resolve(cls, raw_source: Any) -> FiftyOneSource:
        return cls(raw_source.dataset, raw_source.tag, raw_source.round_number)

    def to_dict(self) -> dict[Any, Any]:
        """Return the values stored with a run."""
        view = f"match_tags({self.tag!r})" if self.tag else "view()"
        return {"dataset": self.dataset, "view": view, "tag": self.tag, "round": self.round_number}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> FiftyOneSource:
        """Return the source from the values of `to_dict`."""
        return cls(source_dict["dataset"], source_dict["tag"], int(source_dict["round"]))


def dataset_input(data: DataInput) -> DatasetInput:
    """Return data as an MLflow dataset input; its digest is the snapshot's hash."""
    source = FiftyOneSource(data.dataset, data.tag, data.round_number)
    dataset = MetaDataset(source, name=data.dataset, digest=data.digest[:36] or None)
    tags = {_CONTEXT: data.context, "round": str(data.round_number), "snapshot": data.digest}
    if data.n_images is not None:
        tags["images"] = str(data.n_images)
    return DatasetInput(
        dataset._to_mlflow_entity(), tags=[InputTag(key, value) for key, value in tags.items()]
    )
