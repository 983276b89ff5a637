"""The ensemble: manifest, taxonomy, checkpoints and calibration with one identity.

On disk an ensemble is a folder; the model registry stores such folders:

    manifest.yaml  taxonomy.yaml  calibration.json
    members/<name>/{config.json, weights.safetensors}
    probe/{config.json, weights.safetensors}    if a probe is fitted
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray

from cascade import registry
from cascade.checkpoints import checkpoint, sources
from cascade.checkpoints.licenses import LicenseKind
from cascade.errors import CheckpointError, ManifestError
from cascade.fusion.calibration import Calibration
from cascade.fusion.probe import Probe
from cascade.manifest import Manifest, Member
from cascade.manifest import load as load_manifest
from cascade.manifest import parse as parse_manifest
from cascade.protocols import PRECISIONS
from cascade.registry import Tier
from cascade.runtime.yaml_models import short_hash
from cascade.taxonomy import Taxonomy
from cascade.taxonomy import load as load_taxonomy
from cascade.taxonomy import parse as parse_taxonomy

DEEP_TIERS: tuple[Tier, ...] = ("geometry", "segmentation", "language")


@dataclass(frozen=True)
class Ensemble:
    """Everything that determines the predictions of the cascade.

    Attributes:
        manifest: Members, routing, fusion and budget.
        taxonomy: The classes and the image decision.
        checkpoints: Folder of each member's weights; None if the adapter includes them.
        calibration: Parameters fitted on validation.
        left_out: Optional members that cannot run here, each with the reason.
        probe: Linear model of the image decision on the embedding; None until one is fitted.
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
        strictest_license: LicenseKind | None = None,
    ) -> Ensemble:
        """Return the uncalibrated ensemble of a manifest.

        Args:
            manifest: A packaged name, a YAML file, or a parsed manifest.
            taxonomy: Taxonomy to use instead of the manifest's.
            strictest_license: Strictest license kind of the members; None for any.

        Raises:
            ManifestError: The manifest is wrong, or a required member has a stricter license.
            CheckpointError: A required member's weights are missing.
            MissingExtraError: A required member's package is not installed.
        """
        parsed = manifest if isinstance(manifest, Manifest) else load_manifest(manifest)
        classes = taxonomy or load_taxonomy(parsed.taxonomy)
        left_out = _without_package(parsed) | parsed.excluded_by_license(strictest_license)
        checkpoints, unavailable = _locate_checkpoints(
            parsed, left_out, lambda member: sources.resolve(member.source, member.revision)
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
        """Return the ensemble that `save` has written into `folder`.

        Raises:
            CheckpointError: The folder does not contain a complete ensemble.
        """
        parts = {part: folder / part for part in _PARTS}
        absent = [part for part, path in parts.items() if not path.is_file()]
        if absent:
            raise CheckpointError(f"{folder} is not an ensemble: missing {', '.join(absent)}.")
        taxonomy = parse_taxonomy(parts["taxonomy.yaml"].read_text(), origin="taxonomy.yaml")
        manifest = parse_manifest(
            parts["manifest.yaml"].read_text(), origin="manifest.yaml", classes=taxonomy
        )
        left_out = _without_package(manifest) | _not_saved(manifest, folder)
        checkpoints, unavailable = _locate_checkpoints(
            manifest, left_out, lambda member: _saved_checkpoint(folder, member)
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
        """Write the ensemble into `folder`, completely or not at all, and return the folder.

        Raises:
            CheckpointError: The folder cannot be written; an existing one is unchanged.
        """
        draft = folder.with_name(f".{folder.name}.{uuid4().hex}")
        try:
            draft.mkdir(parents=True)
            (draft / "manifest.yaml").write_text(self.manifest.to_yaml())
            (draft / "taxonomy.yaml").write_text(self.taxonomy.to_yaml())
            (draft / "calibration.json").write_text(self.calibration.to_json())
            for name, path in self.checkpoints.items():
                if path is not None and not self._is_remote(name):
                    _copy_checkpoint(path, draft / "members" / name)
            if self.probe:
                self.probe.save(draft / _PROBE)
            checkpoint.replace_folder(draft, folder)
        except OSError as error:
            raise CheckpointError(f"Cannot write the ensemble {folder}: {error}.") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return folder

    def _is_remote(self, name: str) -> bool:
        """Return whether a member's weights are pinned in a hub and need no copy."""
        member = self.manifest.member(name)
        return sources.is_remote(member.source) and not registry.get(member.adapter).trainable

    def restricted_to(self, strictest_license: LicenseKind | None) -> Ensemble:
        """Return the ensemble without optional members of a stricter license; None allows any.

        Raises:
            ManifestError: A required member has a stricter license.
        """
        excluded = self.manifest.excluded_by_license(strictest_license)
        checkpoints = {
            name: path for name, path in self.checkpoints.items() if name not in excluded
        }
        return replace(self, checkpoints=checkpoints, left_out={**self.left_out, **excluded})

    def with_checkpoints(self, checkpoints: Mapping[str, Path]) -> Ensemble:
        """Return the ensemble with new weights of some members."""
        return replace(self, checkpoints={**self.checkpoints, **checkpoints})

    def with_calibration(self, calibration: Calibration) -> Ensemble:
        """Return the ensemble with a new calibration."""
        return replace(self, calibration=calibration)

    def with_probe(self, probe: Probe | None) -> Ensemble:
        """Return the ensemble with a new probe."""
        return replace(self, probe=probe)

    @cached_property
    def identity(self) -> str:
        """Hash of manifest, taxonomy, weights, calibration and probe, 16 hex digits."""
        parts = {
            "manifest": self.manifest.identity,
            "taxonomy": self.taxonomy.identity,
            "calibration": self.calibration.identity,
            "members": {name: self.fingerprint(name) for name in self.checkpoints},
            **({"probe": self.probe.identity} if self.probe else {}),
        }
        return short_hash(parts)

    def fingerprint(self, name: str) -> str:
        """Return a hash of everything that affects a member's raw predictions, 16 hex digits.

        The calibration is excluded: new thresholds affect the consensus, not the models.
        """
        member, folder = self.manifest.member(name), self.checkpoints[name]
        runtime = registry.get(member.adapter).runtime
        return short_hash(
            {
                "adapter": member.adapter,
                "params": {key: p for key, p in member.params.items() if key not in runtime},
                "precision": member.precision,
                "source": (member.source, member.revision) if folder is None else None,
                "weights": sources.fingerprint(folder) if folder else None,
                "taxonomy": self.taxonomy.identity,
            }
        )

    def available(self, tier: Tier) -> tuple[str, ...]:
        """Return the members of a tier that can run here, by name and in order."""
        return tuple(
            member.name for member in self.manifest.of_tier(tier) if member.name in self.checkpoints
        )

    def deep_tier_members(self) -> dict[Tier, tuple[str, ...]]:
        """Return the members of each deep tier, except trackers."""
        return {
            tier: tuple(
                name
                for name in self.available(tier)
                if not registry.get(self.manifest.member(name).adapter).tracks
            )
            for tier in DEEP_TIERS
        }

    @cached_property
    def detectors(self) -> tuple[str, ...]:
        """The detection members that can run here, by name and in order."""
        return self.available("detection")

    @cached_property
    def trainable(self) -> tuple[str, ...]:
        """The trainable detectors, by name and in order."""
        adapters = {name: self.manifest.member(name).adapter for name in self.detectors}
        return tuple(name for name in self.detectors if registry.get(adapters[name]).trainable)

    @cached_property
    def embedder(self) -> str:
        """The first embedding member, by name.

        Raises:
            ManifestError: No embedding member can run here.
        """
        for name in self.available("embedding"):
            return name
        raise ManifestError(
            f"The manifest {self.manifest.name!r} has no member of the tier 'embedding' that can "
            "run here. Add one, for example the adapter 'mobilenet'."
        )

    @cached_property
    def probe_embedder(self) -> str | None:
        """The embedder that the probe was fitted on; None if there is no matching one."""
        for name in self.available("embedding"):
            if self.probe and self.probe.embedder == self.fingerprint(name):
                return name
        return None

    @cached_property
    def voters(self) -> tuple[str, ...]:
        """The members that vote on every image: the detectors, and an embedder with a probe."""
        return (*self.detectors, *((self.probe_embedder,) if self.probe_embedder else ()))

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each detector, shape (M,), above 0."""
        return np.array([self.manifest.member(name).weight for name in self.detectors])

    @cached_property
    def competent(self) -> NDArray[np.bool_]:
        """Whether each detector can name each class, shape (M, C)."""
        rows = [self.vocabulary(name) for name in self.detectors]
        table = [[name in row for name in self.taxonomy.names] for row in rows]
        return np.array(table, bool).reshape(len(rows), len(self.taxonomy.names))

    def vocabulary(self, name: str) -> tuple[str, ...]:
        """Return the canonical classes that a detector can name."""
        member = self.manifest.member(name)
        adapter = registry.get(member.adapter)
        config = _read_config(self.checkpoints[name])
        if "classes" in config and adapter.trainable:
            return self.taxonomy.vocabulary(config["classes"])  # those of the last training
        if member.vocabulary is not None:
            return self.taxonomy.vocabulary(member.vocabulary)
        if adapter.takes_taxonomy:
            return self.taxonomy.names  # its prompts
        labels = config.get("classes") or list((config.get("id2label") or {}).values())
        if not labels:
            raise ManifestError(
                f"The checkpoint of the member {name!r} does not list its classes; "
                "list them in the manifest as the member's `vocabulary`."
            )
        return self.taxonomy.vocabulary(labels)

    def build(self, name: str, device: torch.device) -> Any:
        """Return a member's model on `device`, ready to predict."""
        member = self.manifest.member(name)
        adapter = registry.get(member.adapter)
        context = {"taxonomy": self.taxonomy} if adapter.takes_taxonomy else {}
        model = registry.create(member.adapter, self.checkpoints[name], **context, **member.params)
        if adapter.half_weights and member.precision != "fp32":
            model.module.to(device, PRECISIONS[member.precision])
        else:
            model.module.to(device)
        return model


_PROBE = "probe"  # the folder
_PARTS = ("manifest.yaml", "taxonomy.yaml", "calibration.json")


def _without_package(manifest: Manifest) -> dict[str, str]:
    """Return the optional members whose package is missing, each with the reason.

    Raises:
        MissingExtraError: The package of a required member is missing.
    """
    reasons: dict[str, str] = {}
    for member in manifest.members:
        error = registry.get(member.adapter).missing_error
        if error is None:
            continue
        if not member.optional:
            raise error
        reasons[member.name] = str(error)
    return reasons


def _locate_checkpoints(
    manifest: Manifest, left_out: Mapping[str, str], locate: Callable[[Member], Path | None]
) -> tuple[dict[str, Path | None], dict[str, str]]:
    """Return the weights of each member, and the optional members without any, with the reason.

    Raises:
        CheckpointError: The weights of a required member are missing.
    """
    checkpoints: dict[str, Path | None] = {}
    absent: dict[str, str] = {}
    for member in manifest.members:
        if member.name in left_out:
            continue
        try:
            checkpoints[member.name] = locate(member)
        except CheckpointError as error:
            if not member.optional:
                raise
            absent[member.name] = str(error)
    return checkpoints, absent


def _not_saved(manifest: Manifest, folder: Path) -> dict[str, str]:
    """Return the optional members that could not be saved, each with the reason."""
    return {
        member.name: f"The member {member.name!r} is not part of this ensemble: its package was "
        "missing when the ensemble was saved."
        for member in manifest.members
        if member.optional
        and member.source is not None
        and not sources.is_remote(member.source)
        and not (folder / "members" / member.name).is_dir()
    }


def _read_config(folder: Path | None) -> dict[str, Any]:
    """Return the `config.json` of a checkpoint; empty if there is none."""
    file = folder / "config.json" if folder else None
    if file is None or not file.is_file():
        return {}
    config: dict[str, Any] = json.loads(file.read_text())
    return config


def _copy_checkpoint(source: Path, target: Path) -> None:
    """Copy the files of a checkpoint, with the default permissions of new files."""
    target.mkdir(parents=True)
    if not source.is_dir():
        shutil.copyfile(source, target / source.name)
        return
    for path in sorted(source.rglob("*")):  # a folder comes before its content
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir()
        else:
            shutil.copyfile(path, copy)


def _saved_checkpoint(folder: Path, member: Member) -> Path | None:
    saved = folder / "members" / member.name
    if saved.is_dir():
        files = list(saved.iterdir())
        return files[0] if len(files) == 1 else saved  # a single file is the checkpoint
    if member.source is None:
        return None
    if sources.is_remote(member.source):
        return sources.resolve(member.source, member.revision)
    raise CheckpointError(f"The ensemble {folder} is incomplete: members/{member.name} is missing.")
