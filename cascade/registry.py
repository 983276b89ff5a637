"""Registry of model adapters: `register`, `create`, `names`.

Built-in adapters are registered like any other. A factory is a string `"module:attribute"`;
nothing is imported, built or loaded before `create`.
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
    """Registration of a family of models.

    Attributes:
        name: Name in a manifest.
        tier: Tier of the models.
        factory: `module:attribute` of a callable `(checkpoint: Path | None, **params)`.
        needs: Optional packages that the factory imports.
        install: Command that installs them; None for the extra named after the package.
        takes_taxonomy: Whether the factory has the keyword `taxonomy`, for models that are
            prompted with the classes or answer the taxonomy's question.
        tracks: Whether the models follow boxes through a clip instead of processing images.
        runtime: Parameters that affect speed or location, but not predictions.
        trainable: Whether the models implement `protocols.Trainable`.
        half_weights: Whether the weights are stored in the precision of the forward pass.
    """

    name: str
    tier: Tier
    factory: str
    needs: tuple[str, ...] = ()
    install: str | None = None
    takes_taxonomy: bool = False
    tracks: bool = False
    runtime: tuple[str, ...] = ()
    trainable: bool = False
    half_weights: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """The required packages that are not installed."""
        return tuple(package for package in self.needs if find_spec(package) is None)

    @property
    def missing_error(self) -> MissingExtraError | None:
        """An error with the command that installs the first missing package; None if none is."""
        for package in self.missing:
            return MissingExtraError(self.name, package, self.install)
        return None


_adapters: dict[str, Adapter] = {}


def register(name: str, *, tier: Tier, factory: str, **options: Any) -> None:
    """Register an adapter.

    Args:
        name: Name in a manifest.
        tier: Tier of the models.
        factory: `module:attribute` of a callable `(checkpoint: Path | None, **params)`.
        **options: Other fields of `Adapter`.

    Raises:
        DuplicateModelError: The name is taken.
    """
    if name in _adapters:
        raise DuplicateModelError(name)
    _adapters[name] = Adapter(name=name, tier=tier, factory=factory, **options)


def get(name: str) -> Adapter:
    """Return the registration of an adapter, without building anything.

    Raises:
        UnknownModelError: The name is not registered; the message has the closest names.
    """
    if name not in _adapters:
        raise UnknownModelError(name, _adapters)
    return _adapters[name]


def create(name: str, checkpoint: Path | None = None, **params: Any) -> Any:
    """Build a model with an adapter, from a checkpoint folder.

    Raises:
        UnknownModelError: The name is not registered.
        MissingExtraError: A required package is not installed.
    """
    adapter = get(name)
    if adapter.missing_error:
        raise adapter.missing_error
    module, _, attribute = adapter.factory.partition(":")
    try:
        factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise CascadeError(
            f"Cannot import the factory {adapter.factory!r} of the adapter {name!r}: {error}."
        ) from error
    return factory(checkpoint, **params)


def names(tier: Tier | None = None, *, trainable: bool = False) -> tuple[str, ...]:
    """Return the registered names, sorted.

    Args:
        tier: Tier of the adapters; None for all.
        trainable: Whether to return trainable adapters only.
    """
    return tuple(
        sorted(
            name
            for name, adapter in _adapters.items()
            if tier in (None, adapter.tier) and (adapter.trainable or not trainable)
        )
    )


_ONNX, _LITERT, _ULTRALYTICS = (
    {"needs": (package,)} for package in ("onnxruntime", "ai_edge_litert", "ultralytics")
)
_TRAINABLE, _HALF, _PROMPTED = {"trainable": True}, {"half_weights": True}, {"takes_taxonomy": True}
_SERVED = {"runtime": ("server", "concurrency", "timeout_s", "key_variable")}
# The pinned dependencies of depth-anything-3 conflict with the current numpy; the imported ones
# do not.
_DEPTH_ANYTHING_3 = {
    "needs": ("depth_anything_3",),
    "install": "pip install --no-deps depth-anything-3 addict omegaconf einops "
    "antlr4-python3-runtime",
}

_BUILT_IN: dict[Tier, dict[str, tuple[str, dict[str, Any]]]] = {
    "embedding": {
        "mobilenet": ("embedding.mobilenet:MobileNetEmbedder", {}),
        "dino": ("embedding.dino:DinoEmbedder", _HALF),
        "siglip": ("embedding.siglip:SiglipEmbedder", _HALF),
        "timm": ("embedding.timm:TimmEmbedder", {"needs": ("timm",), **_HALF}),
        "onnx_embedding": ("exported.onnx_embedding:OnnxEmbedder", _ONNX),
    },
    "detection": {
        "center_point": ("detection.center_point:CenterPoint", _TRAINABLE),
        "rt_detr": ("detection.rt_detr:RtDetr", _TRAINABLE),
        "tuned_trunk": ("detection.tuned_trunk:TunedTrunk", _TRAINABLE),
        "yolo": ("ultralytics.yolo:Yolo", _ULTRALYTICS | _TRAINABLE),
        "detr": ("detection.detr:DetrDetector", _TRAINABLE),
        "worker": ("subprocess.detector:WorkerDetector", {}),
        "grounding_dino": ("detection.grounding_dino:GroundingDino", _PROMPTED),
        "owlv2": ("detection.owlv2:Owlv2", _PROMPTED),
        "onnx_detection": ("exported.onnx_detection:OnnxDetector", _ONNX),
        "litert_detection": ("exported.litert_detection:LitertDetector", _LITERT),
        "ultralytics": ("ultralytics.detector:UltralyticsDetector", _ULTRALYTICS | _TRAINABLE),
        "yoloe": ("ultralytics.yoloe:Yoloe", _ULTRALYTICS | _PROMPTED),
    },
    "geometry": {
        "depth_anything_2": ("depth.depth_anything_2:DepthAnything2", _HALF),
        "depth_anything_3": ("depth.depth_anything_3:DepthAnything3", _DEPTH_ANYTHING_3),
        "byte_track": (
            "tracking.byte_track:ByteTrack", {"needs": ("trackers",), "tracks": True},
        ),
        "cotracker": ("tracking.cotracker:CoTracker", {"tracks": True}),
        "sam_video": ("tracking.sam_video:SamVideo", {"tracks": True}),
    },
    "segmentation": {
        "sam3": ("segmentation.sam3:Sam3", _PROMPTED | _HALF),
        "sam2": ("segmentation.sam2:Sam2", _HALF),
        "rf_detr_seg": ("segmentation.rf_detr_seg:RfDetrSegmenter", {}),
    },
    "language": {
        "vision_language": ("language.vision_language:VisionLanguage", _PROMPTED | _SERVED),
    },
}  # fmt: skip

for _tier, _factories in _BUILT_IN.items():
    for _name, (_factory, _options) in _factories.items():
        register(_name, tier=_tier, factory=f"cascade.models.{_factory}", **_options)
