"""Base of the definition files (manifests and taxonomies): YAML parsed into frozen models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cascade.errors import CascadeError, nearest

_Model = TypeVar("_Model", bound="YamlModel")


class YamlModel(BaseModel):
    """A frozen model that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_yaml(self) -> str:
        """Return a YAML text that parses to an equal model."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def read_source(
    source: str | Path, packaged: Traversable, *, kind: str, error: type[CascadeError]
) -> tuple[str, str]:
    """Return the text of a definition file, and its name for error messages.

    Args:
        source: A packaged name, or the path of a YAML file.
        packaged: The folder of packaged files.
        kind: Noun for error messages, for example `manifest`.
        error: Exception class for a missing file.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise error(f"Cannot find the {kind} file {path}.")
        return path.read_text(), str(path)
    file = packaged / f"{source}.yaml"
    if not file.is_file():
        name = str(source)
        raise error(
            f"No packaged {kind} is named {name!r}. "
            f"{nearest(name, names_in(packaged))} The path of a file must end in .yaml."
        )
    return file.read_text(), f"{source}.yaml"


def parse_yaml(
    model: type[_Model],
    text: str,
    *,
    origin: str,
    error: type[CascadeError],
    explain: Callable[[ValidationError], str],
) -> _Model:
    """Return the model in a YAML text.

    Args:
        model: Class of the model.
        text: The YAML text.
        origin: Name of the text in error messages.
        error: Exception class for invalid YAML and wrong values.
        explain: Describes the first wrong value.
    """
    try:
        return model.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as cause:
        raise error(f"{origin} is not valid YAML: {' '.join(str(cause).split())}") from cause
    except ValidationError as cause:
        raise error(f"{origin}: {explain(cause)}") from cause


def names_in(packaged: Traversable) -> list[str]:
    """Return the names of the definition files in a packaged folder, sorted."""
    names = (file.name for file in packaged.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if not name.startswith("_"))


def short_hash(content: Mapping[str, Any]) -> str:
    """Return 16 hex digits of the SHA-256 of a JSON object with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
