"""What was done already: an index over the fingerprints that label fields bear.

The fingerprint is written in the same step as the labels, so the index cannot say that something
was done which is not there; and asking it costs what is missing, not what there is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from curation.storage.collection import dataset_of, expect_fields
from curation.storage.schema import FINGERPRINT

logger = logging.getLogger(__name__)

_MOST_INDEXES = 60  # of 64 that MongoDB allows for a collection: a few are left to its owner


def keep(samples: Any, label_fields: Iterable[str]) -> None:
    """Index the fingerprints of label fields, where they have one and it is not indexed yet."""
    dataset = dataset_of(samples)
    paths = [f"{name}.{FINGERPRINT}" for name in label_fields]
    known = set(dataset.list_indexes())
    for path in paths:
        if path in known or dataset.get_field(path) is None:
            continue
        if len(known) >= _MOST_INDEXES:
            logger.info("%s has %d indexes: %s goes without.", dataset.name, len(known), path)
            return
        dataset.create_index(path)
        known.add(path)


def missing(samples: Any, label_field: str, fingerprint: str) -> list[str]:
    """Return the ids of the samples whose label field does not bear the fingerprint, in any order.

    Those on which a member failed are among them: it may succeed now.
    """
    expect_fields(samples, [label_field])
    path = f"{label_field}.{FINGERPRINT}"
    return list(samples.match({path: {"$ne": fingerprint}}).values("id"))
