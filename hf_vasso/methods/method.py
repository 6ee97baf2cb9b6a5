"""`Method`: an answer to each question, the numbers that go with them, and which answers make no sense together."""

from dataclasses import dataclass, field, fields
from typing import Any

from hf_vasso.methods.base import (
    Ball,
    BatchGradient,
    Descent,
    Direction,
    EveryStep,
    ExtraLoss,
    Geometry,
    Part,
    Schedule,
    Selection,
    overrides,
)
from hf_vasso.methods.checks import check_range

__all__ = ["Method", "Paper"]

_KINDS: dict[str, type[Part]] = {
    "direction": Direction,
    "geometry": Geometry,
    "schedule": Schedule,
    "descent": Descent,
    "selection": Selection,
    "extra_loss": ExtraLoss,
}


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    title: str
    url: str
    bibtex: str


@dataclass(frozen=True)
class Method:
    """
    A sharpness-aware method: an answer to each question.

    Args:
        direction: Which vector the adversary follows.
        geometry: How that vector becomes a perturbation.
        schedule: Which passes a step pays for.
        descent: Which gradient the base optimizer gets; None for the one of the step's last pass, as SAM.
        rho: Radius of the perturbation, in weight units, >= 0.
        rho_min: Lower bound of the radius, in [0, rho]: rho then runs with the learning rate from `rho_min` to `rho`.
            None for a rho of its own.
        ascent_fraction: Share of each rank's examples of a step that the pass at w is made with, in (0, 1].
        selection: Which examples pay for the pass at w + eps; None for all.
        extra_loss: What is added to the loss; only with a schedule that makes one pass, at w.
        name: What records, logs and tables call it.
        paper: Where it comes from.

    Raises:
        ValueError: If rho is negative or not finite, a part is of the wrong kind, or the parts make no sense together.

    Example:
        >>> from hf_vasso.methods.vasso import MovingAverage
        >>> Method(direction=MovingAverage(theta=0.4), rho=0.1).numbers
        {'rho': 0.1, 'theta': 0.4}
    """

    direction: Direction = BatchGradient()
    geometry: Geometry = Ball()
    schedule: Schedule = EveryStep()
    descent: Descent | None = None
    rho: float = 0.01
    rho_min: float | None = None
    ascent_fraction: float = 1.0
    selection: Selection | None = None
    extra_loss: ExtraLoss | None = None
    name: str = "custom"
    paper: Paper | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_range("rho is the radius of the perturbation", self.rho, minimum=0.0)
        for question, part in self.parts.items():
            if not isinstance(part, _KINDS[question]):
                raise ValueError(
                    f"{question} must be a {_KINDS[question].__name__} with its numbers, such as "
                    f"MovingAverage(theta=0.4) for a direction, got {part!r}"
                )
        if self.rho_min is not None:
            check_range("rho_min is the lower bound of rho", self.rho_min, minimum=0.0, maximum=self.rho)
        check_range(
            "ascent_fraction is the share of the examples in the pass at w",
            self.ascent_fraction,
            minimum=0.0,
            maximum=1.0,
            exclude_minimum=True,
        )
        self._refuse_what_makes_no_sense()

    @property
    def parts(self) -> dict[str, Any]:
        """The parts by the question that each answers."""
        parts = {question: getattr(self, question) for question in _KINDS}
        return {question: part for question, part in parts.items() if part is not None}

    @property
    def numbers(self) -> dict[str, float]:
        """
        rho, where something is perturbed, and the numbers of all parts, as records print them; without those that the
        training decides.
        """
        numbers: dict[str, float] = {"rho": self.rho} if self.schedule.perturbs else {}
        if self.rho_min is not None:
            numbers["rho_min"] = self.rho_min
        if self.ascent_fraction < 1.0:
            numbers["ascent_fraction"] = self.ascent_fraction
        for question, part in self.parts.items():
            for entry in fields(part):
                name = f"{question}_{entry.name}" if entry.name in numbers else entry.name
                numbers[name] = getattr(part, entry.name)
        return {name: number for name, number in numbers.items() if number is not None}

    @property
    def passes(self) -> str:
        """Mean passes per step, each forward and backward over all examples, in words and `numbers`."""
        if self.schedule.ascents == "0":
            return "1"
        factors = [] if self.schedule.ascents == "1" else [self.schedule.ascents]
        if self.ascent_fraction < 1.0:
            factors.append("ascent_fraction")
        if self.selection is not None:
            factors.append(self.selection.share_name)
        return "1 + " + " * ".join(factors) if factors else "2"

    @property
    def mean_passes(self) -> float:
        """The same as a number; where the training decides, the most that it can be."""
        share = self.ascent_fraction if self.selection is None else self.selection.share
        return 1.0 + self.schedule.mean_ascents * share

    @property
    def mean_forward_passes(self) -> float:
        """The same with the passes that go forward alone, which rank examples or ask a teacher."""
        alone = 0.0 if self.selection is None else self.schedule.mean_ascents
        return self.mean_passes + alone + (self.extra_loss.forwards_alone if self.extra_loss is not None else 0.0)

    @property
    def extra_copies(self) -> int:
        """Copies of the trainable weights beside those of the base optimizer, at the most that lasts."""
        kept = sum(part.keeps for part in self.parts.values())
        kept += self.descent is not None  # the gradient at w
        return kept + self.schedule.perturbs  # the weights that are put back

    def _refuse_what_makes_no_sense(self) -> None:
        direction, schedule, descent = (type(part).__name__ for part in (self.direction, self.schedule, self.descent))
        if not self.schedule.perturbs:
            own = {entry.name: entry.default for entry in fields(self)}
            for name in ("direction", "geometry", "rho_min"):
                if getattr(self, name) != own[name]:
                    says_how = f"{name}={getattr(self, name)} says how to"
                    raise ValueError(
                        f"{schedule} perturbs at no step, and {says_how}: leave it out, or take another schedule"
                    )
        if self.schedule.reuses and not overrides(self.direction, Direction, "reuse"):
            raise ValueError(
                f"{schedule} perturbs along an adversary of before, and {direction} keeps none: take a direction that "
                "remembers, such as MovingAverage"
            )
        if self.schedule.without_adversary == "perturbed" and self.direction.remembers:
            raise ValueError(
                f"{direction} is fed by gradients at w, and {schedule} makes none: take another schedule, or a "
                "direction that is fed by the gradients at w + eps, such as DescentAverage"
            )
        none_alone = self.schedule.reuses or isinstance(self.schedule, EveryStep)
        if self.descent is not None and none_alone and overrides(self.descent, Descent, "alone"):
            raise ValueError(
                f"{descent} has its use at steps with the pass at w alone, and {schedule} makes none: leave one out"
            )
        if self.descent is not None and self.schedule.mean_ascents == 0.0:
            raise ValueError(
                f"{descent} combines the gradients of two passes, and {schedule} makes one: leave one out"
            )
        if self.extra_loss is not None and self.schedule.perturbs:
            raise ValueError(
                f"{type(self.extra_loss).__name__} adds to the loss of a single pass, and {schedule} makes others: "
                "take Never() for the schedule, or leave one out"
            )
        if self.selection is not None:
            chooses = f"{type(self.selection).__name__} compares the losses of all examples at w and at w + eps, and"
            if self.schedule.reuses or not self.schedule.perturbs:
                raise ValueError(f"{chooses} {schedule} does not make both passes: take another schedule")
            if self.descent is not None:
                raise ValueError(f"{chooses} {descent} would mix gradients of different examples: leave one out")
            if self.ascent_fraction < 1.0:
                raise ValueError(f"{chooses} ascent_fraction={self.ascent_fraction:g} leaves some out: leave one out")
        if self.ascent_fraction < 1.0:
            share = f"ascent_fraction={self.ascent_fraction:g} makes the pass at w with a share of the examples, and"
            if self.descent is not None:
                raise ValueError(f"{share} {descent} needs the gradient at w of all of them: leave one of the two out")
            if overrides(self.schedule, Schedule, "after"):
                raise ValueError(f"{share} {schedule} needs the norm over all of them: leave one of the two out")
            if self.schedule.mean_ascents == 0.0:
                raise ValueError(f"{share} {schedule} makes a single pass: leave ascent_fraction out")
