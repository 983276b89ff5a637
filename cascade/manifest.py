"""The manifest: members, routing, fusion and budget of an ensemble as one validated file.

A wrong manifest fails before any model is loaded; the message has the path to the wrong value
and the closest valid one. Three manifests are packaged: see `manifests/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, Field, ValidationError, model_validator

from cascade import registry, taxonomy
from cascade.checkpoints import licenses
from cascade.checkpoints.licenses import LicenseKind
from cascade.errors import ManifestError, TaxonomyError, UnknownModelError, nearest
from cascade.registry import Tier
from cascade.runtime.yaml_models import YamlModel, names_in, parse_yaml, read_source, short_hash
from cascade.taxonomy import Taxonomy

_PACKAGED = resources.files("cascade") / "manifests"
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Member(YamlModel):
    """One model of the ensemble.

    Attributes:
        name: Name of the member and of its label field.
        tier: Tier of the member.
        adapter: Registered adapter that builds the model.
        source: `package:FOLDER` in `cascade/weights`, a hub id, or a path; None if the adapter
            includes the weights.
        revision: Pin of the source: the commit of a hub source, the sha256 of a release file.
        license: SPDX name of the weights' license (see `licenses`). `licence`, the key of
            release 0.1, is still read.
        gated: Whether the hub requires consent before a download.
        precision: Arithmetic of the forward pass.
        batch_size: Images per batch.
        weight: Weight in the consensus, relative to the other members.
        vocabulary: Classes that the member can name; None if its checkpoint states them, or if
            it is prompted with the taxonomy.
        optional: Whether a run continues without the member if its package, its weights or the
            consent to its license is missing.
        params: Keyword arguments of the adapter.
        parameters_m: Parameters on the device, in millions.
        gflops: Floating-point operations per image at the model's input size, in 10^9.
        memory_mb: Measured memory of weights and activations at `batch_size`, in MiB; None to
            let `planning` estimate it.
        homepage: Address of the model's description.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
    tier: Tier
    adapter: str
    source: str | None = None
    revision: str | None = None
    license: Annotated[
        str, Field(min_length=1, validation_alias=AliasChoices("license", "licence"))
    ]
    gated: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    weight: Positive = 1.0
    vocabulary: tuple[str, ...] | None = None
    optional: bool = False
    params: dict[str, Any] = Field({})
    parameters_m: Annotated[float, Field(ge=0)] | None = None
    gflops: Annotated[float, Field(ge=0)] | None = None
    memory_mb: Positive | None = None
    homepage: str | None = None

    @property
    def repository(self) -> str | None:
        """Hub repository of the weights; None if they come from elsewhere.

        A language model's weights are loaded by its server, from `params.model`.
        """
        if self.source is None:
            model = self.params.get("model") if self.tier == "language" else None
            return str(model) if model else None
        return self.source.removeprefix("hub:") if self.source.startswith("hub:") else None

    @property
    def is_pinned(self) -> bool:
        """Whether every reader of the manifest gets the same weights.

        Remote sources need a commit or a hash, because branches and tags move. Packaged weights
        and local files are identified by their content.
        """
        if self.repository:
            return bool(_COMMIT.fullmatch(self.revision or ""))
        if self.source is not None and self.source.startswith("release:"):
            return bool(_SHA256.fullmatch(self.revision or ""))
        return True


PATHS = ("fast_a", "fast_b", "precision")
"""The paths of `Routing` with language members."""

_COMMIT, _SHA256 = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{64}")
_DESCRIPTIVE = {"gated", "parameters_m", "gflops", "memory_mb", "homepage"}


class Routing(YamlModel):
    """Thresholds and language members of the decision table in `fusion.routing`.

    Probabilities are those of the fused image decision; `agreement` is the weighted share of
    voting members on the fused side of `threshold`. `fast_a`, `fast_b` and `precision` name the
    language members of each path, `adjudicator` the one that decides the remaining doubt.
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
            raise ValueError(f"adjudicate must be in ascending order, got {list(self.adjudicate)}")
        return self


class Fusion(YamlModel):
    """Thresholds for clustering the boxes of several members.

    Attributes:
        nms_iou: IoU above which boxes of one member and class are duplicates.
        min_p: Calibrated probability below which a box does not vote.
        iou: IoU from which two boxes belong to one cluster.
        small_iou: The same for boxes with a side under `small_px`.
        small_px: Side of a small box, in pixels of the image.
        epsilon: Probabilities are clipped to [epsilon, 1 - epsilon].
        silence: Probability of an object that a competent member does not report, until it is
            estimated on validation.
    """

    nms_iou: Share = 0.6
    min_p: Share = 0.05
    iou: Share = 0.55
    small_iou: Share = 0.4
    small_px: Positive = 32.0
    epsilon: Annotated[float, Field(gt=0, lt=0.5)] = 0.02
    silence: Share = 0.02


class Budget(YamlModel):
    """Limits that the gate sets for a challenger.

    Attributes:
        p99_latency_ms: 99th percentile of the ensemble's time for one image.
        cost_ratio: Maximum ratio of the challenger's to the champion's time for one image.
        mcc_floor: Minimum Matthews correlation coefficient for promotion; the production floor
            of road work is 0.9985.
    """

    p99_latency_ms: Positive = 1000.0
    cost_ratio: Positive = 1.5
    mcc_floor: Annotated[float, Field(ge=-1, le=1)] = -1.0


class Manifest(YamlModel):
    """The members of an ensemble, with routing, fusion and budget."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    version: Annotated[int, Field(ge=1)] = 1
    taxonomy: str = "roadwork"
    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    routing: Routing = Routing()
    fusion: Fusion = Fusion()
    budget: Budget = Budget()

    @cached_property
    def identity(self) -> str:
        """Hash of everything that affects predictions, 16 hex digits.

        Descriptive values such as `memory_mb` are excluded; the ensemble adds the weights.
        """
        content = self.model_dump(mode="json", exclude={"members": {"__all__": _DESCRIPTIVE}})
        for member in content["members"]:
            member["licence"] = member.pop("license")  # the key of release 0.1 keeps hashes valid
        return short_hash(content)

    def of_tier(self, tier: Tier) -> tuple[Member, ...]:
        """Return the members of one tier, in order."""
        return tuple(member for member in self.members if member.tier == tier)

    def member(self, name: str) -> Member:
        """Return the member with a name.

        Raises:
            ManifestError: The member does not exist.
        """
        for member in self.members:
            if member.name == name:
                return member
        names = [member.name for member in self.members]
        raise ManifestError(
            f"The manifest {self.name!r} has no member {name!r}. {nearest(name, names)}"
        )

    def excluded_by_license(self, strictest_license: LicenseKind | None) -> dict[str, str]:
        """Return the optional members with a stricter license, each with the reason.

        Args:
            strictest_license: Strictest license kind allowed; None for any.

        Raises:
            ManifestError: Required members have a stricter license; all are named.
        """
        excluded = [
            member
            for member in self.members
            if strictest_license and not licenses.accepts(strictest_license, member.license)
        ]
        required = [
            f"{member.name} ({member.license})" for member in excluded if not member.optional
        ]
        if required:
            raise ManifestError(
                f"The manifest {self.name!r} requires members whose license is not "
                f"{strictest_license}: {', '.join(required)}. Remove them, or mark them `optional`."
            )
        return {
            member.name: f"The license {member.license} of {member.name} is "
            f"{licenses.kind(member.license)}; only {strictest_license} is allowed."
            for member in excluded
        }

    def restricted_to(self, strictest_license: LicenseKind | None) -> Manifest:
        """Return the manifest without the members in `excluded_by_license` and their routes.

        Raises:
            ManifestError: A required member has a stricter license, or no member is left.
        """
        excluded = self.excluded_by_license(strictest_license)
        content = self.model_dump()
        content["members"] = [
            member for member in content["members"] if member["name"] not in excluded
        ]
        if not content["members"]:
            raise ManifestError(f"No member of {self.name!r} has a {strictest_license} license.")
        routing = content["routing"]
        for path in PATHS:
            routing[path] = [name for name in routing[path] if name not in excluded]
        if routing["adjudicator"] in excluded:
            routing["adjudicator"] = None
        return Manifest.model_validate(content)

    def with_revisions(self, revisions: Mapping[str, str]) -> Manifest:
        """Return the manifest with new revisions of some members, by name."""
        content = self.model_dump()
        for member in content["members"]:
            member["revision"] = revisions.get(member["name"], member["revision"])
        return Manifest.model_validate(content)


def load(source: str | Path) -> Manifest:
    """Return the manifest with a packaged name (`tiny`), or that of a YAML file.

    Raises:
        ManifestError: The name is unknown, or a value is wrong.
    """
    text, origin = read_source(source, _PACKAGED, kind="manifest", error=ManifestError)
    return parse(text, origin=origin)


def parse(text: str, *, origin: str = "manifest", classes: Taxonomy | None = None) -> Manifest:
    """Return the manifest in a YAML text.

    Args:
        text: The YAML text.
        origin: Name of the text in error messages.
        classes: Taxonomy for validating the vocabularies; None for the one that it names.

    Raises:
        ManifestError: A value is wrong.
    """
    manifest = parse_yaml(Manifest, text, origin=origin, error=ManifestError, explain=_first_error)
    _check_members(manifest.members, origin)
    _check_routing(manifest, origin)
    _check_vocabularies(manifest, classes or _taxonomy_of(manifest, origin), origin)
    return manifest


def packaged_names() -> list[str]:
    """Return the names of the packaged manifests."""
    return names_in(_PACKAGED)


def _check_members(members: Iterable[Member], origin: str) -> None:
    names: set[str] = set()
    for i, member in enumerate(members):
        path = f"{origin}: members[{i}]"
        if member.name in names:
            raise ManifestError(f"{path}.name: two members are named {member.name!r}.")
        names.add(member.name)
        try:
            adapter = registry.get(member.adapter)
        except UnknownModelError as error:
            raise ManifestError(f"{path}.adapter: {error}") from error
        if adapter.tier != member.tier:
            raise ManifestError(
                f"{path}.tier: the adapter {member.adapter!r} belongs to the tier "
                f"{adapter.tier!r}, got {member.tier!r}."
            )


def _check_routing(manifest: Manifest, origin: str) -> None:
    speakers = [member.name for member in manifest.of_tier("language")]
    routing = manifest.routing
    names_by_key = {path: getattr(routing, path) for path in PATHS}
    names_by_key["adjudicator"] = (routing.adjudicator,) if routing.adjudicator else ()
    for key, names in names_by_key.items():
        for name in names:
            if name not in speakers:
                raise ManifestError(
                    f"{origin}: routing.{key}: no member of the tier 'language' is named "
                    f"{name!r}. {nearest(name, speakers)}"
                )


def _taxonomy_of(manifest: Manifest, origin: str) -> Taxonomy:
    try:
        return taxonomy.load(manifest.taxonomy)
    except TaxonomyError as error:
        raise ManifestError(f"{origin}: taxonomy: {error}") from error


def _check_vocabularies(manifest: Manifest, classes: Taxonomy, origin: str) -> None:
    for i, member in enumerate(manifest.members):
        for word in member.vocabulary or ():
            if classes.canonical(word) is None:
                raise ManifestError(
                    f"{origin}: members[{i}].vocabulary: no class is named {word!r}. "
                    f"{nearest(word, classes.names)}"
                )


def _first_error(error: ValidationError) -> str:
    """Return one line on the first wrong value: its path, the error and a suggestion."""
    first = error.errors()[0]
    path = _path(first["loc"])
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return f"{path}: unknown key. {nearest(key, _valid_keys(first['loc']))}"
    if first["type"] == "literal_error":
        return f"{path}: must be {first['ctx']['expected']}, got {first['input']!r}."
    if first["type"] == "missing":
        return f"{path}: is required and missing."
    return f"{path}: {first['msg']}, got {_shortened(first['input'])}."


def _path(loc: tuple[int | str, ...]) -> str:
    """Format a location: `("members", 1, "adapter")` becomes `members[1].adapter`."""
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return parts.removeprefix(".") or "top level"


def _valid_keys(loc: tuple[int | str, ...]) -> Iterable[str]:
    models: dict[str, type[BaseModel]] = {
        "members": Member,
        "routing": Routing,
        "fusion": Fusion,
        "budget": Budget,
    }
    model = models.get(str(loc[0]), Manifest) if len(loc) > 1 else Manifest
    return model.model_fields


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
