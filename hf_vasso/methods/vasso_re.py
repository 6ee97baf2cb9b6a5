"""
VASSO-Re: VASSO that ascends now and then, and in between perturbs along the average as it is.

    at an ascent   d = (1 - theta) d + theta g ;  eps = rho d / ||d||
    in between     the eps of before, at the price of one pass

From the ETH bachelor's thesis whose code is lk-eg/Computationally-Efficient-SAM, `solver/vassore.py`, built on the
authors' code of VASSO.
"""

from dataclasses import dataclass
from typing import ClassVar

from hf_vasso.methods.base import EveryKth, PassesOfStep
from hf_vasso.methods.method import Method
from hf_vasso.methods.ss_sam import AtRandom
from hf_vasso.methods.vasso import PAPER, MovingAverage

__all__ = ["ReuseAtRandom", "ReuseBetween", "vasso_re"]


@dataclass(frozen=True)
class ReuseBetween(EveryKth):
    """Both passes every k steps, the first one included; in between only the one at w + eps."""

    between: ClassVar[PassesOfStep] = "perturbed"


@dataclass(frozen=True)
class ReuseAtRandom(AtRandom):
    """Both passes with probability p, and where there is no adversary yet; else only the one at w + eps."""

    between: ClassVar[PassesOfStep] = "perturbed"


def vasso_re(rho: float = 0.01, theta: float = 0.4, k: int | None = None, p: float | None = None) -> Method:
    """
    VASSO with an ascent every k steps, or with probability p; the steps in between use the adversary of before.

    Cost: 1 + 1/k passes per step, or 1 + p; two extra copies of the trainable weights (one is the average, in fp32 or
    wider, saved with the checkpoint).

    Follows lk-eg/Computationally-Efficient-SAM at abb2f2b. It stores eps; we keep the average and scale it anew, which
    is the same on a ball with a constant rho. The criterion is evaluated once per step, and a step that finds no
    average, as the first, ascends. Theirs also ascends at the second step. Tested on images, not on language: its logs
    on CIFAR-100 (WRN-28-10, n = 4) have 84.2 % for k = 2 at 1.47 times the time of SGD, where VASSO has 84.7 % and SGD
    81.8 %.

    When not to use it: with a large k, as the adversary is then that of a place left behind.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0. That code has 0.1 on CIFAR-10 and 0.2 on CIFAR-100.
        theta: Weight of the new gradient, in (0, 1].
        k: Steps from one ascent to the next, >= 1; None for 2, where no p is given. 1 is VASSO.
        p: Probability of an ascent, in [0, 1]; None ascends every k steps.

    Raises:
        ValueError: Both are given.
    """
    if k is not None and p is not None:
        raise ValueError(f"k and p are two rules for when to ascend, got k={k} and p={p}: give one of them")
    schedule = ReuseBetween(2 if k is None else k) if p is None else ReuseAtRandom(p)
    return Method(direction=MovingAverage(theta), schedule=schedule, rho=rho, paper=PAPER)
