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
        install: How to install them, where no extra of ours does.
        takes_taxonomy: Whether the factory has the keyword `taxonomy`: what is prompted by the
            classes, or asks the taxonomy's question.
        tracks: Whether it follows boxes through a clip, instead of looking at single images.
        runtime: Parameters that do not decide what its models say: where, and how fast.
        trainable: Whether its models can be fitted and saved: `model.Trainable`.
        half_weights: Whether its weights, too, are kept in the precision of its forward pass.
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
        """The needed packages that are not installed here."""
        return tuple(package for package in self.needs if find_spec(package) is None)

    @property
    def missing_error(self) -> MissingExtraError | None:
        """The error that says how to install the first of them; None where nothing is missing."""
        for package in self.missing:
            return MissingExtraError(self.name, package, self.install)
        return None


_adapters: dict[str, Adapter] = {}


def register(
    name: str,
    *,
    tier: Tier,
    factory: str,
    needs: tuple[str, ...] = (),
    install: str | None = None,
    takes_taxonomy: bool = False,
    tracks: bool = False,
    runtime: tuple[str, ...] = (),
    trainable: bool = False,
    half_weights: bool = False,
) -> None:
    """Make an adapter known under `name`; see `Adapter` for the arguments.

    Raises:
        DuplicateModelError: The name is taken.
    """
    if name in _adapters:
        raise DuplicateModelError(name)
    _adapters[name] = Adapter(
        name=name,
        tier=tier,
        factory=factory,
        needs=needs,
        install=install,
        takes_taxonomy=takes_taxonomy,
        tracks=tracks,
        runtime=runtime,
        trainable=trainable,
        half_weights=half_weights,
    )


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
    if adapter.missing_error:
        raise adapter.missing_error
    module, _, attribute = adapter.factory.partition(":")
    try:
        factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise CascadeError(
            f"The adapter {name!r} names the factory {adapter.factory!r}, "
            f"which cannot be imported: {error}."
        ) from error
    return factory(checkpoint, **params)


def names(tier: Tier | None = None, *, trainable: bool = False) -> tuple[str, ...]:
    """Return the registered names, sorted; of one tier, or those that can be fitted, if asked."""
    return tuple(
        sorted(
            name
            for name, one in _adapters.items()
            if tier in (None, one.tier) and (one.trainable or not trainable)
        )
    )


def _built_in(tier: Tier, factories: dict[str, str], **known: Any) -> None:
    for name, factory in factories.items():
        register(name, tier=tier, factory=f"cascade.models.{factory}", **known)


_built_in("embedding", {"mobilenet": "embedding.mobilenet:MobileNetEmbedder"})
_built_in(
    "embedding",
    {"dino": "embedding.dino:DinoEmbedder", "siglip": "embedding.siglip:SiglipEmbedder"},
    half_weights=True,
)
_built_in("embedding", {"timm": "embedding.timm:TimmEmbedder"}, needs=("timm",), half_weights=True)
_built_in(
    "embedding", {"onnx_embedding": "exported.onnx_embedding:OnnxEmbedder"}, needs=("onnxruntime",)
)
_built_in(
    "detection",
    {
        "center_point": "detection.center_point:CenterPoint",
        "rt_detr": "detection.rt_detr:RtDetr",
        "tuned_trunk": "detection.tuned_trunk:TunedTrunk",
    },
    trainable=True,
)
_built_in("detection", {"yolo": "ultralytics.yolo:Yolo"}, needs=("ultralytics",), trainable=True)
_built_in("detection", {"detr": "detection.detr:DetrDetector"}, trainable=True)
_built_in("detection", {"worker": "subprocess.detector:WorkerDetector"})
_built_in(
    "detection",
    {
        "grounding_dino": "detection.grounding_dino:GroundingDino",
        "owlv2": "detection.owlv2:Owlv2",
    },
    takes_taxonomy=True,
)
_built_in(
    "detection", {"onnx_detection": "exported.onnx_detection:OnnxDetector"}, needs=("onnxruntime",)
)
_built_in(
    "detection",
    {"litert_detection": "exported.litert_detection:LitertDetector"},
    needs=("ai_edge_litert",),
)
_built_in(
    "detection",
    {"ultralytics": "ultralytics.detector:UltralyticsDetector"},
    needs=("ultralytics",),
    trainable=True,
)
_built_in(
    "detection",
    {"yoloe": "ultralytics.yoloe:Yoloe"},
    needs=("ultralytics",),
    takes_taxonomy=True,
)
_built_in(
    "geometry", {"depth_anything_2": "depth.depth_anything_2:DepthAnything2"}, half_weights=True
)
_built_in(
    "geometry",
    {"depth_anything_3": "depth.depth_anything_3:DepthAnything3"},
    needs=("depth_anything_3",),
    # What it pins cannot be installed beside today's numpy; what it imports can.
    install="pip install --no-deps depth-anything-3 addict omegaconf einops antlr4-python3-runtime",
)
_built_in(
    "segmentation", {"sam3": "segmentation.sam3:Sam3"}, takes_taxonomy=True, half_weights=True
)
_built_in("segmentation", {"sam2": "segmentation.sam2:Sam2"}, half_weights=True)
_built_in("segmentation", {"rf_detr_seg": "segmentation.rf_detr_seg:RfDetrSegmenter"})
_built_in(
    "geometry", {"byte_track": "tracking.byte_track:ByteTrack"}, needs=("trackers",), tracks=True
)
_built_in(
    "geometry",
    {"cotracker": "tracking.cotracker:CoTracker", "sam_video": "tracking.sam_video:SamVideo"},
    tracks=True,
)
_built_in(
    "language",
    {"vision_language": "language.vision_language:VisionLanguage"},
    takes_taxonomy=True,
    runtime=("server", "concurrency", "timeout_s", "key_variable"),
)
