"""Catalogue of all kinds of objects in a scene."""

from __future__ import annotations

from curation.demo import people, street, traffic, worksite
from curation.demo.thing import Kind

KINDS: dict[str, Kind] = {**worksite.KINDS, **people.KINDS, **traffic.KINDS, **street.KINDS}
