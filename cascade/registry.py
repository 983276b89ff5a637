"""Adapters by name: `register`, `create`, `names`.

The built-ins are registered here by the same call as a stranger's. A factory is given as
`"module:attribute"`, so that nothing is imported, built or loaded before `create`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from cascade.errors import CascadeError, DuplicateModelError, MissingExtraError, UnknownModelError

Tier = Literal["embedding", "detection", "geometry", "segmentation", "language", "consensus"]


@dataclass(frozen=True)
class Adapter:
    """How a family of models is built.

    Attributes:
        name: What a manifest calls it.
        tier: The tier that its models work in.
        factory: `module:attribute` of a callable `(checkpoint: Path | None, **params)`.
        needs: Packages beyond the core that it imports.
    """

    name: str
    tier: Tier
    factory: str
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The needed packages that are not installed here."""
        return tuple(package for package in self.needs if find_spec(package) is None)


_adapters: dict[str, Adapter] = {}


def register(name: str, *, tier: Tier, factory: str, needs: tuple[str, ...] = ()) -> None:
    """Make an adapter known under `name`.

    Raises:
        DuplicateModelError: The name is taken.
    """
    if name in _adapters:
        raise DuplicateModelError(name)
    _adapters[name] = Adapter(name=name, tier=tier, factory=factory, needs=needs)


def get(name: str) -> Adapter:
    """Return what is known of the adapter `name`, without building anything.

    Raises:
        UnknownModelError: Nobody registered it; the message names the nearest ones.
    """
    if name not in _adapters:
        raise UnknownModelError(name, known=_adapters)
    return _adapters[name]


def create(name: str, checkpoint: Path | None = None, **params: Any) -> Any:
    """Build the model of the adapter `name` from a checkpoint folder.

    Raises:
        UnknownModelError: Nobody registered the name.
        MissingExtraError: A package that it needs is not installed.
    """
    adapter = get(name)
    if adapter.missing:
        raise MissingExtraError(adapter=name, package=adapter.missing[0])
    module, _, attribute = adapter.factory.partition(":")
    try:
        factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise CascadeError(
            f"The adapter {name!r} names the factory {adapter.factory!r}, "
            f"which cannot be imported: {error}."
        ) from error
    return factory(checkpoint, **params)


def names(tier: Tier | None = None) -> tuple[str, ...]:
    """Return the registered names, sorted; of one tier if asked for."""
    return tuple(sorted(n for n, a in _adapters.items() if tier in (None, a.tier)))


register("mobilenet", tier="embedding", factory="cascade.models.mobilenet:MobileNetEmbedder")
register("center_point", tier="detection", factory="cascade.models.center_point:CenterPoint")
register("rt_detr", tier="detection", factory="cascade.models.rt_detr:RtDetr")
register(
    "yolo",
    tier="detection",
    factory="cascade.models.yolo:Yolo",
    needs=("ultralytics",),
)
