"""
SAM: descend with the gradient at the worst point of a ball around the weights.

    eps = rho g / ||g|| ;  w <- BaseOpt(w, gradient at w + eps)         Foret et al. 2021, arXiv 2010.01412, eq. 2

Every part of it is a default of `Method`, so this file holds only the preset.
"""

from hf_vasso.methods.method import Method, Paper

__all__ = ["sam"]

PAPER = Paper(
    title="Sharpness-Aware Minimization for Efficiently Improving Generalization",
    url="https://arxiv.org/abs/2010.01412",
    bibtex="""@inproceedings{foret2021sharpness,
  title     = {Sharpness-Aware Minimization for Efficiently Improving Generalization},
  author    = {Foret, Pierre and Kleiner, Ariel and Mobahi, Hossein and Neyshabur, Behnam},
  booktitle = {International Conference on Learning Representations},
  year      = {2021},
  url       = {https://arxiv.org/abs/2010.01412}
}""",
)


def sam(rho: float = 0.01) -> Method:
    """
    SAM: the adversary follows the gradient of the step's own examples.

    Cost: two passes per step; one extra copy of the trainable weights.

    Where we differ: weights are restored from a copy, so a step leaves no rounding behind (davda54/sam does so too);
    the original google-research/sam perturbs with each device's own gradient, here it is the gradient of the whole
    step, over all devices and micro-batches. Weight decay of AdamW does not enter the perturbation, whereas the
    original differentiates an L2 penalty.

    When not to use it: when the second pass costs more than it gains. On fully fine-tuned GLUE the published gains are
    a few tenths of a point, inside the noise of a few seeds.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0. 0 is the base optimizer. davda54/sam has 0.05, for
            images; for T5 Bahri et al. 2021 (arXiv 2110.08529) use 0.15, as later papers report.
    """
    return Method(rho=rho, paper=PAPER)
