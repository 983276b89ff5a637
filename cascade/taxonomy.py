"""The classes of a domain: names, synonyms, prompts, real-world sizes, and the decision.

A taxonomy is a YAML file, so another domain is another file. See `taxonomies/roadwork.yaml`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cascade.errors import TaxonomyError, nearest

_PACKAGED = resources.files("cascade") / "taxonomies"
Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sizes(_Frozen):
    """How large a thing is in the world.

    Attributes:
        height_m: Least and greatest plausible height, in metres.
        width_m: Least and greatest plausible width, in metres.
    """

    height_m: Range | None = None
    width_m: Range | None = None

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Sizes:
        for which in ("height_m", "width_m"):
            bounds = getattr(self, which)
            if bounds and bounds[0] >= bounds[1]:
                raise ValueError(f"{which} must ascend, got {list(bounds)}")
        return self


class ObjectClass(Sizes):
    """One kind of thing that is labeled.

    Attributes:
        name: The canonical label.
        synonyms: What data sets and models call it; compared without case, `-`, `_` or spaces.
        prompts: Phrases for open-vocabulary members; their answers mean this class, too.
        decides: Whether its presence argues for the image decision.
    """

    name: Annotated[str, Field(min_length=1)]
    synonyms: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    decides: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """All that means this class: its name, its synonyms and its prompts."""
        return (self.name, *self.synonyms, *self.prompts)


class Decision(_Frozen):
    """The yes/no question about the whole image.

    Attributes:
        name: The field that holds the answer.
        question: The question as it is put to a language model.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    question: Annotated[str, Field(min_length=1)]


class Taxonomy(_Frozen):
    """All classes of a domain and its image decision.

    Attributes:
        name: The domain.
        version: Raised when the meaning of a class changes.
        decision: The image-level question.
        presets: Other sizes of some classes, by name: see `with_preset`.
        classes: The classes, in the order of every class index.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    version: Annotated[int, Field(ge=1)] = 1
    decision: Decision
    presets: dict[str, dict[str, Sizes]] = {}
    classes: Annotated[tuple[ObjectClass, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _words_are_unambiguous(self) -> Taxonomy:
        owner: dict[str, str] = {}
        for one in self.classes:
            for word in dict.fromkeys(map(fold, one.words)):
                if owner.setdefault(word, one.name) != one.name:
                    raise ValueError(f"{word!r} names both {owner[word]!r} and {one.name!r}")
        if len({one.name for one in self.classes}) != len(self.classes):
            raise ValueError("two classes have the same name")
        if not any(one.decides for one in self.classes):
            raise ValueError("no class has `decides: true`, so the decision can never be yes")
        return self

    @model_validator(mode="after")
    def _presets_name_classes(self) -> Taxonomy:
        for preset, sizes in self.presets.items():
            for name in sizes:
                if name not in self.names:
                    raise ValueError(
                        f"the preset {preset!r} names no class by {name!r}. "
                        f"{nearest(name, self.names)}"
                    )
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The canonical class names, in order."""
        return tuple(one.name for one in self.classes)

    @cached_property
    def deciding(self) -> tuple[str, ...]:
        """The classes whose presence argues for the decision."""
        return tuple(one.name for one in self.classes if one.decides)

    @cached_property
    def identity(self) -> str:
        """A hash of the content, 16 hex digits: equal exactly when the taxonomy is."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @cached_property
    def _by_word(self) -> dict[str, str]:
        words: dict[str, str] = {}
        for one in self.classes:
            words |= {fold(word): one.name for word in one.words}
        return words

    def canonical(self, label: str) -> str | None:
        """Return the class that a name, synonym or prompt means, or None where it means none."""
        return self._by_word.get(fold(label))

    def vocabulary(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return the classes, in order, that someone with these words can name."""
        named = {self.canonical(label) for label in labels}
        return tuple(name for name in self.names if name in named)

    def ids_of(self, labels: Sequence[str]) -> list[int]:
        """Return the class index of each label, -1 where the label means no class."""
        index = {name: i for i, name in enumerate(self.names)}
        return [index.get(self.canonical(label) or "", -1) for label in labels]

    def with_preset(self, name: str) -> Taxonomy:
        """Return the taxonomy with the sizes of one of its `presets` in place of the usual ones.

        Raises:
            TaxonomyError: It has no such preset.
        """
        if name not in self.presets:
            raise TaxonomyError(
                f"The taxonomy {self.name!r} has no preset {name!r}. {nearest(name, self.presets)}"
            )
        content = self.model_dump()
        for one in content["classes"]:
            sizes = self.presets[name].get(one["name"], Sizes())
            one |= sizes.model_dump(exclude_none=True)
        return Taxonomy.model_validate(content)


def load(source: str | Path) -> Taxonomy:
    """Return the taxonomy of a packaged name (`roadwork`) or of a YAML file.

    Raises:
        TaxonomyError: The name is unknown, or the file does not hold together.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise TaxonomyError(f"There is no taxonomy file at {path}.")
        return parse(path.read_text(), origin=str(path))
    packaged = _PACKAGED / f"{source}.yaml"
    if not packaged.is_file():
        raise TaxonomyError(
            f"No taxonomy is named {str(source)!r}. {nearest(str(source), packaged_names())} "
            "A file of your own must end in .yaml."
        )
    return parse(packaged.read_text(), origin=f"{source}.yaml")


def parse(text: str, *, origin: str = "taxonomy") -> Taxonomy:
    """Return the taxonomy that a YAML text describes; `origin` names it in errors."""
    try:
        content: Any = yaml.safe_load(text)
        return Taxonomy.model_validate(content)
    except yaml.YAMLError as error:
        raise TaxonomyError(f"{origin} is no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise TaxonomyError(f"{origin}: {where}: {first['msg']}.") from error


def from_labels(name: str, labels: Sequence[str], decides: Sequence[str]) -> Taxonomy:
    """Return a plain taxonomy over `labels`, for data that came without one.

    Args:
        name: Its name.
        labels: The class names.
        decides: Those whose presence makes the decision yes.

    Raises:
        TaxonomyError: `decides` names no label, or labels clash.
    """
    unknown = [one for one in decides if one not in labels]
    if unknown:
        raise TaxonomyError(f"No class is named {unknown[0]!r}. {nearest(unknown[0], labels)}")
    shown = " or ".join(decides)
    content = {
        "name": name,
        "decision": {"name": "decision", "question": f"Does this image show {shown}?"},
        "classes": [{"name": one, "decides": one in decides} for one in labels],
    }
    return parse(yaml.safe_dump(content), origin=name)


def packaged_names() -> list[str]:
    """Return the names of the taxonomies that ship."""
    return sorted(f.name.removesuffix(".yaml") for f in _PACKAGED.iterdir() if f.name[0] != "_")


def to_yaml(taxonomy: Taxonomy) -> str:
    """Return the YAML text that `parse` turns into an equal taxonomy."""
    content = taxonomy.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def fold(label: str) -> str:
    """Return `label` without case, hyphens, underscores and spaces: as labels are compared."""
    return re.sub(r"[\s_-]+", "", label).casefold()
