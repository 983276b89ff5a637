"""The ensemble as one validated file: members, routing, fusion and budget.

A bad manifest fails before any model is loaded, with the path to the wrong value and the
nearest right one. Three ship: see `manifests/`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cascade import registry, taxonomy
from cascade.checkpoints import licenses
from cascade.checkpoints.licenses import LicenseKind
from cascade.errors import ManifestError, TaxonomyError, UnknownModelError, nearest
from cascade.registry import Tier

_PACKAGED = resources.files("cascade") / "manifests"
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(_Frozen):
    """One model of the ensemble.

    Attributes:
        name: Its name, and that of its label field.
        tier: The tier that it works in.
        adapter: The registered adapter that builds it.
        source: `package:FOLDER` in `cascade/weights`, a hub id, or a path; None where the
            adapter brings its weights along.
        revision: What pins the source: the commit of a hub's, the sha256 of a release's.
        licence: SPDX name of the weights' licence: see `licences`.
        gated: Whether the hub asks for consent before it hands the weights out.
        precision: The arithmetic of its forward pass.
        batch_size: Images at a time.
        weight: Its voice in the consensus, relative to the others.
        vocabulary: The classes it can name; None where its checkpoint says so, or where it is
            prompted by the taxonomy.
        optional: Whether a run goes on without it: without its package, its weights, or
            consent to its licence.
        params: Keyword arguments of the adapter.
        parameters_m: Millions of parameters that lie on the device.
        gflops: Floating-point operations for one image at the size that it works on, in 10^9.
        memory_mb: Weights and activations on the device at `batch_size`, in MiB, as measured;
            None to have `planning` estimate it.
        homepage: Where the model is described.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
    tier: Tier
    adapter: str
    source: str | None = None
    revision: str | None = None
    licence: Annotated[str, Field(min_length=1)]
    gated: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    weight: Positive = 1.0
    vocabulary: tuple[str, ...] | None = None
    optional: bool = False
    params: dict[str, Any] = {}
    parameters_m: Annotated[float, Field(ge=0)] | None = None
    gflops: Annotated[float, Field(ge=0)] | None = None
    memory_mb: Positive | None = None
    homepage: str | None = None

    @property
    def repository(self) -> str | None:
        """The hub's repository that its weights come from; None where they do not.

        The weights of a language model are its server's: `params.model` names them.
        """
        if self.source is None and self.tier == "language":
            model = self.params.get("model")
            return str(model) if model else None
        is_of_hub = self.source is not None and self.source.startswith("hub:")
        return str(self.source).removeprefix("hub:") if is_of_hub else None

    @property
    def is_pinned(self) -> bool:
        """Whether everyone who reads the manifest gets the same weights.

        What comes from elsewhere needs a commit or a hash: branches and tags move. What is
        packaged or lies on this machine is identified by its content.
        """
        if self.repository:
            return bool(_COMMIT.fullmatch(self.revision or ""))
        if self.source is not None and self.source.startswith("release:"):
            return bool(_SHA256.fullmatch(self.revision or ""))
        return True


PATHS = ("fast_a", "fast_b", "precision")
"""The paths of `Routing` that ask language members."""

_COMMIT, _SHA256 = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{64}")
_DESCRIPTIVE = {"gated", "parameters_m", "gflops", "memory_mb", "homepage"}


class Routing(_Frozen):
    """When a sample stops, and where it goes otherwise (design: the total decision table).

    Probabilities are of the fused image decision; `agreement` is the weighted share of
    voting members on the fused side of `threshold`. `fast_a`, `fast_b` and `precision` name the
    language members that a path asks, `adjudicator` the one that settles what stays in doubt.
    """

    agreement: Share = 0.65
    threshold: Share = 0.5
    stop_below: Share = 0.05
    stop_above: Share = 0.95
    fast_a_from: Share = 0.85
    fast_b_from: Share = 0.70
    adjudicate: tuple[Share, Share] = (0.25, 0.75)
    fast_a: tuple[str, ...] = ()
    fast_b: tuple[str, ...] = ()
    precision: tuple[str, ...] = ()
    adjudicator: str | None = None

    @model_validator(mode="after")
    def _thresholds_ascend(self) -> Routing:
        steps = (self.stop_below, self.fast_b_from, self.fast_a_from, self.stop_above)
        if list(steps) != sorted(steps):
            raise ValueError(
                "stop_below <= fast_b_from <= fast_a_from <= stop_above must hold, "
                f"got {list(steps)}"
            )
        if self.adjudicate[0] > self.adjudicate[1]:
            raise ValueError(f"adjudicate must ascend, got {list(self.adjudicate)}")
        return self


class Fusion(_Frozen):
    """How boxes of several members become clusters.

    Attributes:
        nms_iou: Boxes of one member and class that overlap more are one.
        min_p: Calibrated probability below which a box is no vote.
        iou: Overlap from which two boxes are of one cluster.
        small_iou: The same for boxes whose side is under `small_px`.
        small_px: In pixels of the image.
        epsilon: Probabilities are clipped to [epsilon, 1 - epsilon].
        silence: Probability of an object where a competent member said nothing,
            until it is estimated on validation.
    """

    nms_iou: Share = 0.6
    min_p: Share = 0.05
    iou: Share = 0.55
    small_iou: Share = 0.4
    small_px: Positive = 32.0
    epsilon: Annotated[float, Field(gt=0, lt=0.5)] = 0.02
    silence: Share = 0.02


class Budget(_Frozen):
    """What the gate asks of a challenger, beside being better.

    Attributes:
        p99_latency_ms: 99th percentile of the whole ensemble's time for one image.
        cost_ratio: The challenger's time for one image over the champion's, at most.
        mcc_floor: Least Matthews correlation coefficient that may be promoted; the
            production floor of road-work is 0.9985.
    """

    p99_latency_ms: Positive = 1000.0
    cost_ratio: Positive = 1.5
    mcc_floor: Annotated[float, Field(ge=-1, le=1)] = -1.0


class Manifest(_Frozen):
    """The ensemble, its routing and its budget."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    version: Annotated[int, Field(ge=1)] = 1
    taxonomy: str = "roadwork"
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    routing: Routing = Routing()
    fusion: Fusion = Fusion()
    budget: Budget = Budget()

    @cached_property
    def identity(self) -> str:
        """A hash of what decides anything, 16 hex digits; weights are hashed by the ensemble.

        What only describes a member, such as an estimate of its memory, is not in it.
        """
        content = self.model_dump(mode="json", exclude={"members": {"__all__": _DESCRIPTIVE}})
        canonical = json.dumps(content, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def of_tier(self, tier: Tier) -> tuple[Member, ...]:
        """Return the members of one tier, in order."""
        return tuple(one for one in self.members if one.tier == tier)

    def member(self, name: str) -> Member:
        """Return the member of that name.

        Raises:
            ManifestError: There is none.
        """
        for one in self.members:
            if one.name == name:
                return one
        known = [one.name for one in self.members]
        raise ManifestError(
            f"The manifest {self.name!r} has no member {name!r}. {nearest(name, known)}"
        )

    def excluded_by_license(self, licence: LicenseKind | None) -> dict[str, str]:
        """Return the optional members whose licence is stricter than asked for, with the reason.

        Args:
            licence: The strictest kind of licence that members may have; None for any.

        Raises:
            ManifestError: Members that are not optional have a stricter one; all are named.
        """
        strict = [
            one
            for one in self.members
            if licence is not None and not licenses.accepts(licence, one.licence)
        ]
        needed = [f"{one.name} ({one.licence})" for one in strict if not one.optional]
        if needed:
            raise ManifestError(
                f"The manifest {self.name!r} needs members whose licence is not {licence}: "
                f"{', '.join(needed)}. Leave them out, or mark them `optional`."
            )
        return {
            one.name: f"Its licence {one.licence} is {licenses.kind(one.licence)}; "
            f"{licence} is asked for."
            for one in strict
        }

    def restricted_to(self, licence: LicenseKind | None) -> Manifest:
        """Return the manifest without the members that `refused` names, nor routes to them.

        Raises:
            ManifestError: A member that is not optional has a stricter licence, or none is left.
        """
        refused = self.excluded_by_license(licence)
        content = self.model_dump()
        content["members"] = [one for one in content["members"] if one["name"] not in refused]
        if not content["members"]:
            raise ManifestError(f"No member of {self.name!r} has a {licence} licence.")
        for path in PATHS:
            asked = [name for name in content["routing"][path] if name not in refused]
            content["routing"][path] = asked
        if content["routing"]["adjudicator"] in refused:
            content["routing"]["adjudicator"] = None
        return Manifest.model_validate(content)

    def with_revisions(self, revisions: Mapping[str, str]) -> Manifest:
        """Return the manifest with other revisions of some members, by name."""
        content = self.model_dump()
        for one in content["members"]:
            one["revision"] = revisions.get(one["name"], one["revision"])
        return Manifest.model_validate(content)


def load(source: str | Path) -> Manifest:
    """Return the manifest of a packaged name (`tiny`) or of a YAML file.

    Raises:
        ManifestError: The name is unknown, or a value is wrong; nothing was loaded.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ManifestError(f"There is no manifest file at {path}.")
        return parse(path.read_text(), origin=str(path))
    packaged = _PACKAGED / f"{source}.yaml"
    if not packaged.is_file():
        raise ManifestError(
            f"No manifest is named {str(source)!r}. {nearest(str(source), packaged_names())} "
            "A file of your own must end in .yaml."
        )
    return parse(packaged.read_text(), origin=f"{source}.yaml")


def parse(
    text: str, *, origin: str = "manifest", classes: taxonomy.Taxonomy | None = None
) -> Manifest:
    """Return the manifest that a YAML text describes.

    Args:
        text: The YAML.
        origin: What errors call it.
        classes: The taxonomy to check it against, instead of the one that it names.
    """
    try:
        content: Any = yaml.safe_load(text)
        manifest = Manifest.model_validate(content)
    except yaml.YAMLError as error:
        raise ManifestError(f"{origin} is no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise ManifestError(f"{origin}: {_explain(error)}") from error
    _check_members(manifest.members, origin)
    _check_routing(manifest, origin)
    _check_vocabularies(manifest, classes or _taxonomy_of(manifest, origin), origin)
    return manifest


def to_yaml(manifest: Manifest) -> str:
    """Return the YAML text that `parse` turns into an equal manifest."""
    content = manifest.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def packaged_names() -> list[str]:
    """Return the names of the manifests that ship."""
    return sorted(f.name.removesuffix(".yaml") for f in _PACKAGED.iterdir() if f.name[0] != "_")


def _check_members(members: Iterable[Member], origin: str) -> None:
    seen: set[str] = set()
    for i, one in enumerate(members):
        where = f"{origin}: members[{i}]"
        if one.name in seen:
            raise ManifestError(f"{where}.name: two members are named {one.name!r}.")
        seen.add(one.name)
        try:
            adapter = registry.get(one.adapter)
        except UnknownModelError as error:
            raise ManifestError(f"{where}.adapter: {error}") from error
        if adapter.tier != one.tier:
            raise ManifestError(
                f"{where}.tier: the adapter {one.adapter!r} works in the tier "
                f"{adapter.tier!r}, got {one.tier!r}."
            )


def _check_routing(manifest: Manifest, origin: str) -> None:
    speakers = [one.name for one in manifest.of_tier("language")]
    asked = {path: getattr(manifest.routing, path) for path in PATHS}
    settles = manifest.routing.adjudicator
    for path, names in {**asked, "adjudicator": (settles,) if settles else ()}.items():
        for name in names:
            if name not in speakers:
                raise ManifestError(
                    f"{origin}: routing.{path}: no member of the tier 'language' is named "
                    f"{name!r}. {nearest(name, speakers)}"
                )


def _taxonomy_of(manifest: Manifest, origin: str) -> taxonomy.Taxonomy:
    try:
        return taxonomy.load(manifest.taxonomy)
    except TaxonomyError as error:
        raise ManifestError(f"{origin}: taxonomy: {error}") from error


def _check_vocabularies(manifest: Manifest, classes: taxonomy.Taxonomy, origin: str) -> None:
    for i, one in enumerate(manifest.members):
        for word in one.vocabulary or ():
            if classes.canonical(word) is None:
                raise ManifestError(
                    f"{origin}: members[{i}].vocabulary: no class is named {word!r}. "
                    f"{nearest(word, classes.names)}"
                )


def _explain(error: ValidationError) -> str:
    """Return one line on the first wrong value: the path, what is wrong, the nearest right."""
    first = error.errors()[0]
    where = _path(first["loc"])
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return f"{where}: there is no such key. {nearest(key, _keys_beside(first['loc']))}"
    if first["type"] == "literal_error":
        return f"{where}: must be {first['ctx']['expected']}, got {first['input']!r}."
    if first["type"] == "missing":
        return f"{where}: is required and missing."
    return f"{where}: {first['msg']}, got {_short(first['input'])}."


def _path(loc: tuple[int | str, ...]) -> str:
    """Return `members[1].adapter` for `("members", 1, "adapter")`."""
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return parts.removeprefix(".") or "top level"


def _keys_beside(loc: tuple[int | str, ...]) -> Iterable[str]:
    models: dict[str, type[BaseModel]] = {
        "members": Member,
        "routing": Routing,
        "fusion": Fusion,
        "budget": Budget,
    }
    model = models.get(str(loc[0]), Manifest) if len(loc) > 1 else Manifest
    return model.model_fields


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
