import pytest

from curation.errors import LabelingError
from curation.labeling.media import require_images


@pytest.mark.parametrize("kind", ["image", None])
def test_images_pass(kind):
    require_images("demo", kind)


REFUSED = [
    ("video", "--fps"),
    ("group", "select_group_slices"),
    ("3d", "Only images"),
    ("hologram", "Only images"),
]


@pytest.mark.parametrize(("kind", "instead"), REFUSED)
def test_others_are_refused_with_what_to_do_instead(kind, instead):
    with pytest.raises(
        LabelingError, match=f"'demo' is a dataset of media type '{kind}'.*{instead}"
    ):
        require_images("demo", kind)


def test_the_advice_for_groups_works_in_fiftyone(database):
    """The media types are FiftyOne's own words, and the slice that we advise is of images."""
    import fiftyone as fo

    made = fo.Dataset()
    group = fo.Group()
    made.add_samples(
        [
            fo.Sample(filepath="/a.jpg", view=group.element("left")),
            fo.Sample(filepath="/b.jpg", view=group.element("right")),
        ]
    )
    with pytest.raises(LabelingError, match="select_group_slices"):
        require_images("demo", made.media_type)
    flat = made.select_group_slices("left").clone()
    require_images("demo", flat.media_type)
    made.delete()
    flat.delete()
