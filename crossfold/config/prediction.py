"""`inference:`, `ensemble_aggregation:` and `postprocessing:` of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from crossfold.config.augmentation import Axis, PerAxis
from crossfold.config.base import Section

Aggregation = Literal["average", "log_average", "majority_vote", "staple"]
Threshold = Annotated[float, Field(gt=0, le=0.5)]
Component = str | tuple[str, Threshold]

BACKGROUND = "background"
"""What voxels of no structure are called where a rule may name them."""


ALL_STRUCTURES = "all"
"""What stands for every structure in `largest_component`."""


def with_all_structures(components: Sequence[Any], structures: Sequence[str]) -> list[Any]:
    """Return entries of `largest_component` in which `all` is written out.

    Examples
    --------
    >>> with_all_structures([["liver", 0.2], "all"], ["liver", "spleen", "aorta"])
    [['liver', 0.2], 'spleen', 'aorta']
    >>> with_all_structures([["all", 0.2]], ["liver", "spleen"])
    [('liver', 0.2), ('spleen', 0.2)]
    """
    names = [entry if isinstance(entry, str) else entry[0] for entry in components]
    others = [name for name in structures if name not in names]
    written: list[Any] = []
    for name, entry in zip(names, components, strict=True):
        if name != ALL_STRUCTURES:
            written.append(entry)
        else:
            written += [one if isinstance(entry, str) else (one, *entry[1:]) for one in others]
    return written


class InferenceConfig(Section):
    """How a trained network is run over a whole image."""

    window: Literal["image", "patch"] | tuple[PositiveInt, PositiveInt, PositiveInt] = "patch"
    """Sliding window in voxels of the training grid; patch: the training patch; image: the whole
    image at once."""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the window by which neighbours overlap."""
    batch_size: PositiveInt = 2
    """Windows per forward pass."""
    mirror_axes: tuple[Axis, ...] = ()
    """Axes along which the image is mirrored and the posteriors averaged."""


class SummedProbability(Section):
    """Two structures that together outweigh what surrounds them.

    A voxel of `external` goes to the likelier of `first` and `second` where their posteriors add up
    to more than that of `external`.
    """

    first: str
    """A structure; it wins a tie."""
    second: str
    """Another structure."""
    external: str
    """The structure around both, or `background`."""

    @model_validator(mode="after")
    def _three_names(self) -> SummedProbability:
        names = (self.first, self.second, self.external)
        if len({*names}) < 3:
            raise ValueError(f"{', '.join(names)} are not three different names")
        return self


class SliceExclusion(Section):
    """Two structures that share no axial slice.

    From the lowest slice of `higher` to the highest one of `lower`, where these overlap, every
    voxel of one of them becomes the other one.
    """

    higher: str
    """The structure nearer to the head."""
    lower: str
    """The structure nearer to the feet."""
    keep: Literal["higher", "lower"]
    """Which of them has the slices in which both are found."""

    @model_validator(mode="after")
    def _two_names(self) -> SliceExclusion:
        if self.higher == self.lower:
            raise ValueError(f"`higher` and `lower` are both {self.higher}; name two structures")
        return self


class PostprocessingConfig(Section):
    """What is done to posteriors and segmentation, in the order of these keys."""

    decide: bool = False
    """true: the ensemble gets those of the steps below, and of the largest component and the filled
    holes of every structure, that help out of fold (`postprocessing.csv`), and the folds get none;
    false: all get the steps below."""
    smoothing_mm: NonNegativeFloat | PerAxis = 0.0
    """Standard deviation in mm of a Gaussian over each posterior before the likeliest structure
    is taken: one number, or three for right, anterior and superior; 0: none."""
    summed_probability: tuple[SummedProbability, ...] = ()
    """Voxels of a surrounding structure that go to one of two structures which share them."""
    largest_component: tuple[Component, ...] = ()
    """Structures, or derived structures, of which only the largest connected part is kept; or
    [structure, threshold]: all parts with at least that share of its voxels. `all` stands for every
    structure that is not named beside it."""
    slice_exclusion: tuple[SliceExclusion, ...] = ()
    """Pairs of structures that share no axial slice."""
    fill_holes: tuple[str, ...] = ()
    """Structures, or derived structures, whose enclosed background becomes a part of them."""

    @property
    def applied_to_folds(self) -> PostprocessingConfig:
        """What the folds get: what is to be decided on their results cannot be in them yet."""
        return PostprocessingConfig() if self.decide else self

    def components(self) -> Iterator[tuple[str, float | None]]:
        """Yield the names in `largest_component` with their thresholds."""
        for entry in self.largest_component:
            yield (entry, None) if isinstance(entry, str) else entry

    def names(self) -> Iterator[tuple[str, list[str], bool]]:
        """Yield each key that names structures, their names, and whether unions may be named."""
        summed, slices = self.summed_probability, self.slice_exclusion
        inner = [name for rule in summed for name in (rule.first, rule.second)]
        outer = [rule.external for rule in summed if rule.external != BACKGROUND]
        yield "summed_probability", [*inner, *outer], False
        yield "largest_component", [name for name, _ in self.components()], True
        yield "slice_exclusion", [n for rule in slices for n in (rule.higher, rule.lower)], False
        yield "fill_holes", [*self.fill_holes], True
