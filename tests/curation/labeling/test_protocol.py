import pytest

from curation.errors import LabelingError
from curation.labeling.protocol import require_images


@pytest.mark.parametrize("kind", ["image", None])
def test_images_are_accepted(kind):
    require_images("demo", kind)


REFUSED = [
    ("video", "--fps"),
    ("group", "select_group_slices"),
    ("3d", "Only images can be labeled"),
    ("hologram", "Only images can be labeled"),
]


@pytest.mark.parametrize(("kind", "alternative"), REFUSED)
def test_other_media_types_are_rejected_with_alternative(kind, alternative):
    with pytest.raises(
        LabelingError, match=f"'demo' is a dataset of media type '{kind}'.*{alternative}"
    ):
        require_images("demo", kind)


def test_advice_for_groups_works_in_fiftyone(database):
    """FiftyOne reports these media types, and the suggested slice contains images."""
    import fiftyone as fo

    grouped = fo.Dataset()
    group = fo.Group()
    grouped.add_samples(
        [
            fo.Sample(filepath="/a.jpg", view=group.element("left")),
            fo.Sample(filepath="/b.jpg", view=group.element("right")),
        ]
    )
    with pytest.raises(LabelingError, match="select_group_slices"):
        require_images("demo", grouped.media_type)
    flat = grouped.select_group_slices("left").clone()
    require_images("demo", flat.media_type)
    grouped.delete()
    flat.delete()
