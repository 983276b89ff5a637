"""What kinds of datasets can be labeled: single images. Others are refused in words."""

from __future__ import annotations

from curation.errors import LabelingError

_INSTEAD = {
    "video": "Take frames first: `curate ingest FOLDER_OF_VIDEOS --name NAME --fps 1`.",
    "group": "Take one slice first: `dataset.select_group_slices('SLICE').clone('NAME')`.",
    "point-cloud": "Only images can be labeled here.",
    "3d": "Only images can be labeled here.",
    "mixed": "Put the images into a dataset of their own.",
    "unknown": "Only images can be labeled here.",
}


def require_images(name: str, media_type: str | None) -> None:
    """Refuse a dataset whose samples are not single images.

    Args:
        name: The dataset's, for the message.
        media_type: As FiftyOne says; None for a dataset without samples, which passes.

    Raises:
        LabelingError: It says what to do instead.
    """
    if media_type in (None, "image"):
        return
    instead = _INSTEAD.get(str(media_type), _INSTEAD["unknown"])
    raise LabelingError(f"{name!r} is a dataset of media type {media_type!r}. {instead}")
