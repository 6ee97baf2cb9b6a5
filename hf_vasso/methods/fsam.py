"""
F-SAM: the adversary follows what a batch's gradient has beyond the average gradient.

    eps = rho n(g - sigma m) ;  then m = lambda m + (1 - lambda) g          Li et al. 2024, arXiv 2403.12350, Alg. 1

It removes the very component that VASSO keeps.
"""

from dataclasses import dataclass
from typing import Any

import torch

from hf_vasso.methods.base import Context, Direction, Vector, by_parameter, recall
from hf_vasso.methods.checks import check_range
from hf_vasso.methods.method import Method, Paper

__all__ = ["GradientMinusAverage", "fsam"]

PAPER = Paper(
    title="Friendly Sharpness-Aware Minimization",
    url="https://arxiv.org/abs/2403.12350",
    bibtex="""@inproceedings{li2024friendly,
  title     = {Friendly Sharpness-Aware Minimization},
  author    = {Li, Tao and Zhou, Pan and He, Zhengbao and Cheng, Xinwen and Huang, Xiaolin},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2024},
  url       = {https://arxiv.org/abs/2403.12350}
}""",
)


@dataclass(frozen=True)
class GradientMinusAverage(Direction):
    """
    g - sigma m with the average of before this step, which then takes in g.

    Args:
        sigma: Share of the average that is taken away, >= 0. 0 follows the batch gradient.
        lmbda: Weight of the old average, in [0, 1].
    """

    sigma: float
    lmbda: float

    keeps = 1

    def __post_init__(self) -> None:
        check_range("sigma is the share of the average that is taken away", self.sigma, minimum=0.0)
        check_range("lmbda weighs the old average", self.lmbda, minimum=0.0, maximum=1.0)

    def update(self, context: Context, state: dict[str, Any], gradient: Vector) -> Vector:
        # A tensor's first gradient starts its average and is followed as it is.
        shares = [self.sigma if name in by_parameter(state) else 0.0 for name in context.names]
        average = recall(state, context.names, start=gradient)
        vector = torch._foreach_sub(gradient, torch._foreach_mul(average, shares))
        torch._foreach_lerp_(average, gradient, 1.0 - self.lmbda)
        return list(vector)


def fsam(rho: float = 0.01, sigma: float = 1.0, lmbda: float = 0.9) -> Method:
    """
    F-SAM: SAM along the gradient minus its moving average.

    It is Friendly SAM (Li et al., CVPR 2024). Fisher SAM, which is abbreviated alike, is another method: a ball shaped
    by the Fisher information (Kim et al., ICML 2022), or on language models a perturbation masked by it (Zhong et al.,
    Findings of EMNLP 2022, arXiv 2210.05497). Neither is among the methods here.

    Cost: two passes per step; two extra copies of the trainable weights (one is the average, in fp32 or wider, saved
    with the checkpoint), and two more for a moment.

    Follows nblt/F-SAM at 2e2f989: the direction uses the average of before the step, the first step goes along the raw
    gradient. Run beside ours, its step is the same to 7e-16 (50 steps, float64). The paper's formula has the new
    average; for sigma 1 the direction is the same, otherwise it is not. Their class has lambda 0.9, their scripts 0.95
    and 0.6. Tested by its authors on images, not on language.

    When not to use it: together with the expectation that it confirms VASSO; it assumes the opposite.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0. 0 is the base optimizer. The authors' script has 0.2,
            on CIFAR-100.
        sigma: Share of the average that is taken away, >= 0. 0 is SAM.
        lmbda: Weight of the old average, in [0, 1].
    """
    return Method(direction=GradientMinusAverage(sigma, lmbda), rho=rho, paper=PAPER)
