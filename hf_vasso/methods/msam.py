"""
Momentum-SAM: the adversary goes against the momentum of the base optimizer, which costs no pass at all.

    eps = -rho v / ||v||, v the momentum before the step ;  w <- BaseOpt(w, gradient at w + eps)
                                                                        Becker et al. 2024, arXiv 2401.12033
"""

from dataclasses import dataclass
from typing import Any

import torch

from hf_vasso.methods.base import Context, Direction, PassesOfStep, Schedule, Vector, filled
from hf_vasso.methods.method import Method, Paper

__all__ = ["AgainstMomentum", "OnlyPerturbed", "msam"]

PAPER = Paper(
    title="Momentum-SAM: Sharpness Aware Minimization without Computational Overhead",
    url="https://arxiv.org/abs/2401.12033",
    bibtex="""@article{becker2024momentum,
  title   = {{Momentum-SAM}: Sharpness Aware Minimization without Computational Overhead},
  author  = {Becker, Marlon and Altrock, Frederick and Risse, Benjamin},
  journal = {arXiv preprint arXiv:2401.12033},
  year    = {2024},
  url     = {https://arxiv.org/abs/2401.12033}
}""",
)
_BUFFERS = ("exp_avg", "momentum_buffer")  # of Adam and its kin, and of SGD and its kin


@dataclass(frozen=True)
class AgainstMomentum(Direction):
    """-v, the momentum that the base optimizer keeps; on the first step, when it keeps none, nothing."""

    remembers = False

    def update(self, context: Context, state: dict[str, Any], gradient: Vector) -> Vector:
        against = self.reuse(context, state)
        return [torch.zeros_like(g) for g in gradient] if against is None else against

    def reuse(self, context: Context, state: dict[str, Any]) -> Vector | None:
        momenta = filled(context.kept_by_optimizer(_BUFFERS), like=context.parameters)
        if momenta is None:
            _refuse_without_momentum(context.optimizer)
            return None
        return list(torch._foreach_neg(momenta))


def _refuse_without_momentum(optimizer: torch.optim.Optimizer) -> None:
    """An optimizer that has stepped, or whose groups all say that their momentum is 0, and keeps none of anything."""
    if any(kept.get(name) is not None for kept in optimizer.state.values() for name in _BUFFERS):
        return  # of parameters that are frozen now
    if optimizer.state or all(group.get("momentum") == 0 for group in optimizer.param_groups):
        name = type(getattr(optimizer, "optimizer", optimizer)).__name__  # within accelerate's
        raise ValueError(
            f"msam follows the momentum of the base optimizer, and {name} keeps neither {' nor '.join(_BUFFERS)}: "
            "take one with momentum, such as AdamW, or SGD with momentum above 0"
        )


@dataclass(frozen=True)
class OnlyPerturbed(Schedule):
    """One pass, at w + eps, at every step; at w as long as there is no adversary."""

    reuses = True
    without_adversary = "perturbed"
    ascents = "0"
    mean_ascents = 0.0

    def before(self, context: Context, state: dict[str, Any]) -> PassesOfStep:
        return "perturbed"


def msam(rho: float = 0.1) -> Method:
    """
    Momentum-SAM: the gradient at a point against the momentum, so nearly at the price of the base optimizer.

    Cost: one pass per step; one extra copy of the trainable weights, and a second one for a moment.

    Follows MarlonBecker/MSAM at 780fa4f: the sign is negative, the opposite of VASSO's; Adam's momentum is taken
    without bias correction; the first step is not perturbed. Their optimizers leave the weights perturbed between
    steps and take one parameter group; here the weights are perturbed and put back inside the step, so that nothing is
    evaluated or saved perturbed, whatever the groups. Run beside ours without weight decay the two agree to 5e-15 (50
    steps, float64). With it they differ: theirs decays w + eps under SGD, and after the update under AdamW, where
    torch decays w before it; and where rho changes, its SGD version moves back by another amount than it had moved.
    The logged loss is that at w + eps. Tested by its authors on images; where we compared it (as `vasso-free`) no
    difference from AdamW in accuracy was shown.

    When not to use it: with a radius taken from SAM. The authors' best radii are ten times SAM's or more, about 3 on
    CIFAR, 0.3 (ResNet) and 10 (ViT) on ImageNet; 0.1, ten times our default for SAM, is our choice, untuned and small.
    They also report that a warm-up without a perturbation helps on transformers: `rho_warmup_steps`.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0. 0 is the base optimizer.
    """
    return Method(direction=AgainstMomentum(), schedule=OnlyPerturbed(), rho=rho, paper=PAPER)
