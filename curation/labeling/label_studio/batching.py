"""Batches of items for requests of limited size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from curation.labeling.label_studio.api.errors import TooLargeError

T = TypeVar("T")


def batches(
    items: Iterable[T], size_of: Callable[[T], int], *, max_size: int, max_count: int
) -> Iterator[list[T]]:
    """Yield items in lists, in order; the input is consumed lazily.

    Args:
        items: The items.
        size_of: Returns the size of an item.
        max_size: Maximum total size of a list; a single larger item gets a list for itself.
        max_count: Maximum number of items in a list.
    """
    batch: list[T] = []
    total = 0
    for item in items:
        size = size_of(item)
        if batch and (len(batch) == max_count or total + size > max_size):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch


def send_in_halves(items: Sequence[T], send: Callable[[Sequence[T]], None]) -> None:
    """Send items, split in halves as long as the request is too large.

    Raises:
        TooLargeError: A single item is too large.
    """
    try:
        send(items)
    except TooLargeError:
        if len(items) == 1:
            raise
        middle = len(items) // 2
        send_in_halves(items[:middle], send)
        send_in_halves(items[middle:], send)
