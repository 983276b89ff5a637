"""The ensemble: manifest, taxonomy, checkpoints and calibration as one thing with one identity.

On disk an ensemble is a folder, and this folder is what the model registry keeps:

    manifest.yaml  taxonomy.yaml  calibration.json
    members/<name>/{config.json, weights.safetensors}
    probe/{config.json, weights.safetensors}    where one is fitted
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray

from cascade import manifest as manifests
from cascade import registry
from cascade import taxonomy as taxonomies
from cascade.checkpoints import checkpoint, sources
from cascade.checkpoints.licenses import LicenseKind
from cascade.errors import CheckpointError, ManifestError
from cascade.fusion.calibration import Calibration
from cascade.manifest import Manifest, Member
from cascade.protocols import PRECISIONS
from cascade.registry import Tier
from cascade.taxonomy import Taxonomy
from cascade.training.probe_fit import Probe

DEEP_TIERS: tuple[Tier, ...] = ("geometry", "segmentation", "language")


@dataclass(frozen=True)
class Ensemble:
    """All that decides what the cascade says about an image.

    Attributes:
        manifest: Members, routing, fusion and budget.
        taxonomy: The classes and the image decision.
        checkpoints: The folder of each member's weights; None where the adapter brings them.
        calibration: What was fitted on validation.
        left_out: Optional members that cannot run here, each with the reason.
        probe: What reads the image decision off the embedding; None until one is fitted.
    """

    manifest: Manifest
    taxonomy: Taxonomy
    checkpoints: Mapping[str, Path | None]
    calibration: Calibration
    left_out: Mapping[str, str]
    probe: Probe | None = None

    @classmethod
    def from_manifest(
        cls,
        manifest: str | Path | Manifest,
        *,
        taxonomy: Taxonomy | None = None,
        licence: LicenseKind | None = None,
    ) -> Ensemble:
        """Return the uncalibrated ensemble of a manifest, over its own taxonomy or another.

        Args:
            manifest: A packaged name, a YAML file, or what was read from one.
            taxonomy: The classes, instead of those that the manifest names.
            licence: The strictest kind of licence that members may have; None for any.

        Raises:
            ManifestError: The manifest is wrong, or a member that is not optional has a
                stricter licence.
            CheckpointError: A member's weights are absent.
            MissingExtraError: A member that is not optional needs a package that is absent.
        """
        parsed = manifest if isinstance(manifest, Manifest) else manifests.load(manifest)
        classes = taxonomy or taxonomies.load(parsed.taxonomy)
        left_out = _left_out(parsed) | parsed.excluded_by_license(licence)
        checkpoints, unavailable = _found(
            parsed, left_out, lambda one: sources.resolve(one.source, one.revision)
        )
        return cls(
            manifest=parsed,
            taxonomy=classes,
            checkpoints=checkpoints,
            calibration=Calibration.uncalibrated(deciding=classes.deciding),
            left_out=left_out | unavailable,
        )

    @classmethod
    def load(cls, folder: Path) -> Ensemble:
        """Return the ensemble that `save` wrote into `folder`.

        Raises:
            CheckpointError: The folder holds no whole ensemble.
        """
        parts = {part: folder / part for part in _PARTS}
        absent = [part for part, path in parts.items() if not path.is_file()]
        if absent:
            raise CheckpointError(f"{folder} is no ensemble: {', '.join(absent)} is missing.")
        taxonomy = taxonomies.parse(parts["taxonomy.yaml"].read_text(), origin="taxonomy.yaml")
        manifest = manifests.parse(
            parts["manifest.yaml"].read_text(), origin="manifest.yaml", classes=taxonomy
        )
        left_out = _left_out(manifest) | _not_saved(manifest, folder)
        checkpoints, unavailable = _found(
            manifest, left_out, lambda one: _saved_checkpoint(folder, one)
        )
        return cls(
            manifest=manifest,
            taxonomy=taxonomy,
            checkpoints=checkpoints,
            calibration=Calibration.from_json(parts["calibration.json"].read_text()),
            left_out=left_out | unavailable,
            probe=Probe.load(folder / _PROBE) if (folder / _PROBE).is_dir() else None,
        )

    def save(self, folder: Path) -> Path:
        """Write the ensemble into `folder`, whole or not at all, and return it.

        Raises:
            CheckpointError: The place cannot be written to; what was there stays.
        """
        draft = folder.with_name(f".{folder.name}.{uuid4().hex}")
        try:
            draft.mkdir(parents=True)
            (draft / "manifest.yaml").write_text(manifests.to_yaml(self.manifest))
            (draft / "taxonomy.yaml").write_text(taxonomies.to_yaml(self.taxonomy))
            (draft / "calibration.json").write_text(self.calibration.to_json())
            for name, path in self.checkpoints.items():
                if path is not None and not self._is_elsewhere(name):
                    _copy(path, draft / "members" / name)
            if self.probe:
                self.probe.save(draft / _PROBE)
            checkpoint.replace_folder(draft, folder)
        except OSError as error:
            raise CheckpointError(f"The ensemble {folder} cannot be written: {error}.") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return folder

    def _is_elsewhere(self, member: str) -> bool:
        """Tell whether a member's weights are pinned in a hub, and so need no copy of ours."""
        one = self.manifest.member(member)
        return sources.is_remote(one.source) and not registry.get(one.adapter).trainable

    def restricted_to(self, licence: LicenseKind | None) -> Ensemble:
        """Return the ensemble without optional members of a stricter licence; None allows any.

        Raises:
            ManifestError: A member that is not optional has a stricter one.
        """
        refused = self.manifest.excluded_by_license(licence)
        kept = {name: path for name, path in self.checkpoints.items() if name not in refused}
        return replace(self, checkpoints=kept, left_out={**self.left_out, **refused})

    def with_checkpoints(self, checkpoints: Mapping[str, Path]) -> Ensemble:
        """Return the ensemble with other weights for some members."""
        return replace(self, checkpoints={**self.checkpoints, **checkpoints})

    def with_calibration(self, calibration: Calibration) -> Ensemble:
        """Return the ensemble with another calibration."""
        return replace(self, calibration=calibration)

    def with_probe(self, probe: Probe | None) -> Ensemble:
        """Return the ensemble with another probe."""
        return replace(self, probe=probe)

    @cached_property
    def identity(self) -> str:
        """16 hex digits over manifest, taxonomy, weights, calibration and probe."""
        parts = {
            "manifest": self.manifest.identity,
            "taxonomy": self.taxonomy.identity,
            "calibration": self.calibration.identity,
            "members": {name: self.fingerprint(name) for name in self.checkpoints},
            **({"probe": self.probe.identity} if self.probe else {}),
        }
        return _digest(parts)

    def fingerprint(self, member: str) -> str:
        """16 hex digits over all that decides a member's raw predictions.

        The calibration is not in it: changed thresholds recompute the consensus, not the models.
        """
        one = self.manifest.member(member)
        folder = self.checkpoints[member]
        runtime = registry.get(one.adapter).runtime
        return _digest(
            {
                "adapter": one.adapter,
                "params": {name: p for name, p in one.params.items() if name not in runtime},
                "precision": one.precision,
                "source": (one.source, one.revision) if folder is None else None,
                "weights": sources.fingerprint(folder) if folder else None,
                "taxonomy": self.taxonomy.identity,
            }
        )

    def present(self, tier: Tier) -> tuple[str, ...]:
        """Return the names of the members of a tier that can run here, in order."""
        return tuple(
            one.name for one in self.manifest.of_tier(tier) if one.name in self.checkpoints
        )

    def deep_tier_members(self) -> dict[str, tuple[str, ...]]:
        """Return the members of the deep tiers that look at single images, by tier."""
        return {
            tier: tuple(
                name
                for name in self.present(tier)
                if not registry.get(self.manifest.member(name).adapter).tracks
            )
            for tier in DEEP_TIERS
        }

    @cached_property
    def detectors(self) -> tuple[str, ...]:
        """The names of the detection members that can run here, in order."""
        return self.present("detection")

    @cached_property
    def trainable(self) -> tuple[str, ...]:
        """The names of the detectors that can be fitted, in order."""
        adapters = {name: self.manifest.member(name).adapter for name in self.detectors}
        return tuple(name for name in self.detectors if registry.get(adapters[name]).trainable)

    @cached_property
    def embedder(self) -> str:
        """The name of the first embedding member.

        Raises:
            ManifestError: The manifest has none that can run here.
        """
        for name in self.present("embedding"):
            return name
        raise ManifestError(
            f"The manifest {self.manifest.name!r} has no member of the tier 'embedding' that can "
            "run here. Add one, for example the adapter 'mobilenet'."
        )

    @cached_property
    def probe_embedder(self) -> str | None:
        """The name of the embedder that the probe belongs to; None where it has no say."""
        for name in self.present("embedding"):
            if self.probe and self.probe.embedder == self.fingerprint(name):
                return name
        return None

    @cached_property
    def voters(self) -> tuple[str, ...]:
        """The members that look at every image: the detectors, and an embedder with a probe."""
        return (*self.detectors, *((self.probe_embedder,) if self.probe_embedder else ()))

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """The voice of each detector, shape (M,), above 0."""
        return np.array([self.manifest.member(name).weight for name in self.detectors])

    @cached_property
    def competent(self) -> NDArray[np.bool_]:
        """Which classes each detector can name, shape (M, C)."""
        rows = [self.vocabulary(name) for name in self.detectors]
        table = [[name in row for name in self.taxonomy.names] for row in rows]
        return np.array(table, bool).reshape(len(rows), len(self.taxonomy.names))

    def vocabulary(self, member: str) -> tuple[str, ...]:
        """Return the canonical classes that a detector can name."""
        one = self.manifest.member(member)
        config = _config_of(self.checkpoints[member])
        if "classes" in config and registry.get(one.adapter).trainable:
            return self.taxonomy.vocabulary(config["classes"])  # as it was trained last
        if one.vocabulary is not None:
            return self.taxonomy.vocabulary(one.vocabulary)
        if registry.get(one.adapter).takes_taxonomy:
            return self.taxonomy.names  # it is prompted by them
        words = config.get("classes") or list((config.get("id2label") or {}).values())
        if not words:
            raise ManifestError(
                f"The checkpoint of the member {member!r} does not tell what it can name; "
                "say in the manifest which classes it can, as its `vocabulary`."
            )
        return self.taxonomy.vocabulary(words)

    def build(self, member: str, device: torch.device) -> Any:
        """Return the member's model on `device`, ready to predict."""
        one = self.manifest.member(member)
        adapter = registry.get(one.adapter)
        context = {"taxonomy": self.taxonomy} if adapter.takes_taxonomy else {}
        model = registry.create(one.adapter, self.checkpoints[member], **context, **one.params)
        if adapter.half_weights and one.precision != "fp32":
            model.module.to(device, PRECISIONS[one.precision])
        else:
            model.module.to(device)
        return model


_PROBE = "probe"  # the folder
_PARTS = ("manifest.yaml", "taxonomy.yaml", "calibration.json")


def _left_out(manifest: Manifest) -> dict[str, str]:
    """Return the optional members whose package is missing; raise for one that is needed."""
    reasons: dict[str, str] = {}
    for one in manifest.members:
        lack = registry.get(one.adapter).missing_error
        if lack is None:
            continue
        if not one.optional:
            raise lack
        reasons[one.name] = str(lack)
    return reasons


def _found(
    manifest: Manifest, left_out: dict[str, str], find: Callable[[Member], Path | None]
) -> tuple[dict[str, Path | None], dict[str, str]]:
    """Return where each member's weights are, and why optional members have none here.

    Raises:
        CheckpointError: A member that is not optional has none.
    """
    checkpoints: dict[str, Path | None] = {}
    absent: dict[str, str] = {}
    for one in manifest.members:
        if one.name in left_out:
            continue
        try:
            checkpoints[one.name] = find(one)
        except CheckpointError as error:
            if not one.optional:
                raise
            absent[one.name] = str(error)
    return checkpoints, absent


def _not_saved(manifest: Manifest, folder: Path) -> dict[str, str]:
    """Return the optional members whose weights are not there: saved where they cannot run."""
    return {
        one.name: f"The member {one.name!r} is not part of this ensemble: its package was missing "
        "where the ensemble was saved."
        for one in manifest.members
        if one.optional
        and one.source is not None
        and not sources.is_remote(one.source)
        and not (folder / "members" / one.name).is_dir()
    }


def _config_of(folder: Path | None) -> dict[str, Any]:
    """Return the readable part of a checkpoint; empty where there is none."""
    file = folder / "config.json" if folder else None
    if file is None or not file.is_file():
        return {}
    config: dict[str, Any] = json.loads(file.read_text())
    return config


def _copy(source: Path, target: Path) -> None:
    """Copy the files of a checkpoint, but not who may read them: that is as for any new file."""
    target.mkdir(parents=True)
    if not source.is_dir():
        shutil.copyfile(source, target / source.name)
        return
    for one in sorted(source.rglob("*")):  # a folder comes before what is in it
        place = target / one.relative_to(source)
        if one.is_dir():
            place.mkdir()
        else:
            shutil.copyfile(one, place)


def _saved_checkpoint(folder: Path, member: Member) -> Path | None:
    saved = folder / "members" / member.name
    if saved.is_dir():
        files = list(saved.iterdir())
        return files[0] if len(files) == 1 else saved  # weights of one file are that file
    if member.source is None:
        return None
    if sources.is_remote(member.source):
        return sources.resolve(member.source, member.revision)
    raise CheckpointError(f"{folder} is no whole ensemble: members/{member.name} is missing.")


def _digest(content: Mapping[str, Any] | Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
