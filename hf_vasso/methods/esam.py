"""
ESAM: the adversary moves a random subset of the tensors, and only the sharpest examples pay for the second pass.

    eps = (rho / beta) g_S / ||g_S||, S each tensor with probability beta
    B+ = the gamma |B| examples with the largest loss(w + eps) - loss(w) ;  w <- BaseOpt(w, gradient at w + eps on B+)
                                                                        Du et al. 2022, arXiv 2110.03141, Alg. 1
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hf_vasso.methods.base import NORM_FLOOR, Context, Geometry, Selection, Vector, count_of_share
from hf_vasso.methods.checks import check_range
from hf_vasso.methods.method import Method, Paper

__all__ = ["RandomSubset", "Sharpest", "esam"]

PAPER = Paper(
    title="Efficient Sharpness-aware Minimization for Improved Training of Neural Networks",
    url="https://arxiv.org/abs/2110.03141",
    bibtex="""@inproceedings{du2022efficient,
  title     = {Efficient Sharpness-aware Minimization for Improved Training of Neural Networks},
  author    = {Du, Jiawei and Yan, Hanshu and Feng, Jiashi and Zhou, Joey Tianyi and Zhen, Liangli and
               Goh, Rick Siow Mong and Tan, Vincent Y. F.},
  booktitle = {International Conference on Learning Representations},
  year      = {2022},
  url       = {https://arxiv.org/abs/2110.03141}
}""",
)


@dataclass(frozen=True)
class RandomSubset(Geometry):
    """
    eps = (rho / beta) v_S / ||v_S||, with one norm over the tensors drawn: beta ||eps|| = rho.

    Args:
        beta: Probability with which a tensor is perturbed, in (0, 1]. 1 is the ball.
    """

    beta: float

    def __post_init__(self) -> None:
        fact = "beta is the probability with which a tensor is perturbed"
        check_range(fact, self.beta, minimum=0.0, maximum=1.0, exclude_minimum=True)

    def perturbation(self, context: Context, rho: float, vector: Vector) -> tuple[Vector, Tensor]:
        numbers = torch.rand(len(vector), generator=context.generator).tolist()
        threshold = max(self.beta, min(numbers) + NORM_FLOOR)  # at least one tensor
        drawn = list(torch._foreach_mul(vector, [float(number < threshold) for number in numbers]))
        return drawn, rho / (context.norm(drawn) + NORM_FLOOR) / self.beta


@dataclass(frozen=True)
class Sharpest(Selection):
    """
    Of each micro-batch the ceil(gamma B) examples whose loss the perturbation raises most.

    Args:
        gamma: Their share, in (0, 1]. 1 takes all.
    """

    gamma: float

    share_name = "gamma"

    def __post_init__(self) -> None:
        fact = "gamma is the share of the examples in the pass at w + eps"
        check_range(fact, self.gamma, minimum=0.0, maximum=1.0, exclude_minimum=True)

    @property
    def share(self) -> float:
        return self.gamma

    def rows(self, at_w: Vector, perturbed: Vector) -> list[Tensor]:
        sharpness = torch._foreach_sub(perturbed, at_w)
        counts = [count_of_share(self.gamma, len(losses)) for losses in sharpness]
        return [losses.topk(count).indices.sort().values for losses, count in zip(sharpness, counts, strict=True)]


def esam(rho: float = 0.01, beta: float = 0.6, gamma: float = 0.5) -> Method:
    """
    ESAM: SAM on a random subset of the tensors, with the sharpest share of the examples.

    Cost: 1 + gamma passes per step, and one forward pass more, which ranks the examples; one extra copy of the
    trainable weights, and a second one for a moment.

    Follows dydjw9/Efficient_SAM at 1e06840, where the paper's algorithm and the code differ (the author: the code is
    right): a tensor takes part with probability beta, and the perturbation is divided by beta. Where we differ: the
    subset is drawn after the gradient, since to freeze tensors before it breaks data-parallel training, so beta saves
    nothing here; theirs is drawn after a step for the next, so its first step moves all tensors. Exactly ceil(gamma B)
    examples of a micro-batch are taken; theirs takes fewer than floor(gamma B), those above the last one of them, none
    among equals, and all from gamma 0.99 on. The ranking draws the dropout masks of the pass at w. With these three
    made equal the two agree to 5e-15 (50 steps, float64). Tested by its authors on images, not on language.

    When not to use it: for a small gamma on small micro-batches, as each keeps at least one example. The examples
    taken depend on the split into micro-batches, so accumulation is not exactly one large batch.

    Args:
        rho: beta times the radius of the perturbation, in weight units, >= 0. The authors' runs have 0.05, 0.1
            and 0.2.
        beta: Probability with which a tensor is perturbed, in (0, 1].
        gamma: Share of the examples in the pass at w + eps, in (0, 1]. With beta 1 and gamma 1 it is SAM.
    """
    return Method(geometry=RandomSubset(beta), selection=Sharpest(gamma), rho=rho, paper=PAPER)
