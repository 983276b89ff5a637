"""The taxonomy: classes of a domain with synonyms, prompts and real-world sizes, and the decision.

A taxonomy is a YAML file; another domain needs only another file. See `taxonomies/roadwork.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, model_validator

from cascade.errors import TaxonomyError, nearest
from cascade.runtime.yaml_models import YamlModel, names_in, parse_yaml, read_source, short_hash

_PACKAGED = resources.files("cascade") / "taxonomies"
Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class Sizes(YamlModel):
    """Plausible real-world sizes of an object.

    Attributes:
        height_m: Minimum and maximum plausible height, in meters.
        width_m: Minimum and maximum plausible width, in meters.
    """

    height_m: Range | None = None
    width_m: Range | None = None

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Sizes:
        for name in ("height_m", "width_m"):
            bounds = getattr(self, name)
            if bounds and bounds[0] >= bounds[1]:
                raise ValueError(f"{name} must be in ascending order, got {list(bounds)}")
        return self


class ObjectClass(Sizes):
    """A class of objects.

    Attributes:
        name: The canonical label.
        synonyms: Labels of datasets and models; compared without case, `-`, `_` or spaces.
        prompts: Phrases for open-vocabulary members; their answers map to this class, too.
        decides: Whether the presence of the class is evidence for the image decision.
    """

    name: Annotated[str, Field(min_length=1)]
    synonyms: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    decides: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """All words for the class: its name, its synonyms and its prompts."""
        return (self.name, *self.synonyms, *self.prompts)


class Decision(YamlModel):
    """The yes/no question about an image.

    Attributes:
        name: The field of the answer.
        question: The question for language models.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    question: Annotated[str, Field(min_length=1)]


class Taxonomy(YamlModel):
    """The classes of a domain and its image decision.

    Attributes:
        name: The domain.
        version: Incremented when the meaning of a class changes.
        decision: The image-level question.
        presets: Alternative sizes of some classes, by name: see `with_preset`.
        classes: The classes, in the order of every class index.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    version: Annotated[int, Field(ge=1)] = 1
    decision: Decision
    presets: dict[str, dict[str, Sizes]] = Field(default={})
    classes: Annotated[tuple[ObjectClass, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _words_are_unambiguous(self) -> Taxonomy:
        owner: dict[str, str] = {}
        for cls in self.classes:
            for word in dict.fromkeys(map(fold, cls.words)):
                if owner.setdefault(word, cls.name) != cls.name:
                    raise ValueError(f"{word!r} names both {owner[word]!r} and {cls.name!r}")
        if len({cls.name for cls in self.classes}) != len(self.classes):
            raise ValueError("two classes have the same name")
        if not any(cls.decides for cls in self.classes):
            raise ValueError("no class has `decides: true`, so the decision can never be yes")
        return self

    @model_validator(mode="after")
    def _presets_name_classes(self) -> Taxonomy:
        for preset, sizes in self.presets.items():
            for name in sizes:
                if name not in self.names:
                    raise ValueError(
                        f"the preset {preset!r} names an unknown class {name!r}. "
                        f"{nearest(name, self.names)}"
                    )
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The canonical class names, in order."""
        return tuple(cls.name for cls in self.classes)

    @cached_property
    def deciding(self) -> tuple[str, ...]:
        """The classes whose presence is evidence for the decision."""
        return tuple(cls.name for cls in self.classes if cls.decides)

    @cached_property
    def identity(self) -> str:
        """Hash of the content, 16 hex digits."""
        return short_hash(self.model_dump(mode="json"))

    @cached_property
    def _name_by_word(self) -> dict[str, str]:
        return {fold(word): cls.name for cls in self.classes for word in cls.words}

    def canonical(self, label: str) -> str | None:
        """Return the class of a name, synonym or prompt; None if the label is unknown."""
        return self._name_by_word.get(fold(label))

    def vocabulary(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return the classes that a model with these labels can name, in order."""
        named = {self.canonical(label) for label in labels}
        return tuple(name for name in self.names if name in named)

    def ids_of(self, labels: Sequence[str]) -> list[int]:
        """Return the class index of each label, -1 for an unknown label."""
        index = {name: i for i, name in enumerate(self.names)}
        return [index.get(self.canonical(label) or "", -1) for label in labels]

    def with_preset(self, name: str) -> Taxonomy:
        """Return the taxonomy with the sizes of one of its `presets`.

        Raises:
            TaxonomyError: The preset does not exist.
        """
        if name not in self.presets:
            raise TaxonomyError(
                f"The taxonomy {self.name!r} has no preset {name!r}. {nearest(name, self.presets)}"
            )
        content = self.model_dump()
        for cls in content["classes"]:
            sizes = self.presets[name].get(cls["name"], Sizes())
            cls |= sizes.model_dump(exclude_none=True)
        return Taxonomy.model_validate(content)


def load(source: str | Path) -> Taxonomy:
    """Return the taxonomy with a packaged name (`roadwork`), or that of a YAML file.

    Raises:
        TaxonomyError: The name is unknown, or the file is inconsistent.
    """
    text, origin = read_source(source, _PACKAGED, kind="taxonomy", error=TaxonomyError)
    return parse(text, origin=origin)


def parse(text: str, *, origin: str = "taxonomy") -> Taxonomy:
    """Return the taxonomy in a YAML text; `origin` names it in error messages."""
    return parse_yaml(Taxonomy, text, origin=origin, error=TaxonomyError, explain=_first_error)


def from_labels(name: str, labels: Sequence[str], decides: Sequence[str]) -> Taxonomy:
    """Return a plain taxonomy of `labels`, for data without a taxonomy.

    Args:
        name: Name of the taxonomy.
        labels: The class names.
        decides: The classes whose presence makes the decision yes.

    Raises:
        TaxonomyError: `decides` contains an unknown label, or labels clash.
    """
    unknown = [label for label in decides if label not in labels]
    if unknown:
        raise TaxonomyError(f"No class is named {unknown[0]!r}. {nearest(unknown[0], labels)}")
    question = f"Does this image show {' or '.join(decides)}?"
    content = {
        "name": name,
        "decision": {"name": "decision", "question": question},
        "classes": [{"name": label, "decides": label in decides} for label in labels],
    }
    return parse(yaml.safe_dump(content), origin=name)


def packaged_names() -> list[str]:
    """Return the names of the packaged taxonomies."""
    return names_in(_PACKAGED)


def fold(label: str) -> str:
    """Return a label in the form used for comparison: lower case, without `-`, `_` and spaces."""
    return re.sub(r"[\s_-]+", "", label).casefold()


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"]) or "top level"
    return f"{path}: {first['msg']}."
