"""A Bayesian linear layer, with distributions as weights ("Weight Uncertainty in Neural Networks", ICML 2015)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SEED = 0  # of the samples outside training


class BayesianLinear(nn.Module):
    """y = W x + b with normal W and b, of mean mu and standard deviation softplus(rho); the prior is N(0, 1)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        shapes = {"weight": (outputs, inputs), "bias": (outputs,)}
        self.mu = nn.ParameterDict(
            {n: nn.Parameter(nn.init.normal_(torch.empty(s), 0.0, 0.1)) for n, s in shapes.items()}
        )
        self.rho = nn.ParameterDict(
            {n: nn.Parameter(nn.init.normal_(torch.empty(s), -3.0, 0.1)) for n, s in shapes.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x (..., inputs) to (..., outputs) by newly sampled weights."""
        drawn = {name: mu + F.softplus(self.rho[name]) * torch.randn_like(mu) for name, mu in self.mu.items()}
        return F.linear(x, drawn["weight"], drawn["bias"])

    def samples(self, x: Tensor, count: int) -> Tensor:
        """Map x (inputs,) to (count, outputs) by `count` samples of the weights, with a fixed seed.

        For normal W and b, Wx + b is normal, too; it is sampled directly, at a hundredth of the cost.
        """
        mean = F.linear(x, self.mu["weight"], self.mu["bias"])
        spread = {name: F.softplus(rho).square() for name, rho in self.rho.items()}
        deviation = F.linear(x.square(), spread["weight"], spread["bias"]).sqrt()
        noise = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(_SEED))
        return mean + deviation * noise.to(mean)

    def divergence(self) -> Tensor:
        """Compute KL(q || prior), summed over weights and biases."""
        total = torch.zeros((), device=self.mu["bias"].device)
        for name, mu in self.mu.items():
            variance = F.softplus(self.rho[name]).square()
            total = total + 0.5 * (variance + mu.square() - 1 - variance.log()).sum()
        return total
