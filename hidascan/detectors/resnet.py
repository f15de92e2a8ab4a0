"""ResNet-50, optionally with spatial attention or a Bayesian head that estimates uncertainty.

"Deep Residual Learning for Image Recognition" (CVPR 2016), in three variants of the Tiny-GenImage report
(CVLabWorks/CVIMGDetection @ e4cb578): the whole image resized to a square, all layers trained; spatial attention after
the last layer; a Bayesian linear layer ("Weight Uncertainty in Neural Networks", ICML 2015), sampled 50 times.

Differences: the seed of the samples is fixed, so that verdicts are reproducible; the KL divergence is divided by the
number of samples drawn during training, not by the size of the training set; our thumbnail shrinks by area averaging.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidascan.detectors.backbones import build_timm_cnn
from hidascan.detectors.base import Decision, DetectorConfig, Encoded, Positions, SingleView
from hidascan.detectors.layers import SpatialAttention
from hidascan.geometry import ViewPlan

_SEED = 0  # of the samples of Bayesian weights outside training


@dataclass(frozen=True)
class ResNetConfig(DetectorConfig):
    """Network configuration in a checkpoint."""

    model: str = "resnet50"  # timm's name
    side: int = 224  # pixels
    spatial_attention: bool = False
    bayesian: bool = False
    samples: int = 50  # number of samples of the Bayesian head's weights


class ResNet(SingleView):
    """ResNet-50 in its three variants."""

    Config = ResNetConfig

    def __init__(self, config: ResNetConfig):
        super().__init__(config)
        self.plan = ViewPlan(config.side, patches=0)
        self.network, width = build_timm_cnn(config.model, pooled=False)
        self.space = SpatialAttention() if config.spatial_attention else None
        self.head: nn.Module = BayesianLinear(width, 2) if config.bayesian else nn.Linear(width, 1)

    def encode(self, views: Tensor, where: Positions) -> Encoded:
        """Return "pooled" (B, D): the mean of the last feature map."""
        x = self.network(self.standardise(views))
        x = x if self.space is None else self.space(x)
        return {"pooled": x.mean((2, 3)).float()}

    def decide(self, encoded: Encoded) -> Decision:
        """Classify the only view; a Bayesian head also returns the standard deviation of p(AI) over its samples."""
        pooled = encoded["pooled"][0]
        if not isinstance(self.head, BayesianLinear):
            return Decision(self.head(pooled)[0])
        if self.training:
            logits = self.head(pooled)
            return Decision(logits[1] - logits[0])
        samples = self.head.samples(pooled, self.config.samples).cpu()  # Apple GPUs have no float64
        scores = torch.softmax(samples, dim=1)[:, 1].double()
        mean = scores.mean().clamp(1e-6, 1 - 1e-6)
        return Decision(torch.logit(mean).float(), uncertainty=scores.std().float())

    def complexity(self) -> Tensor | None:
        """Return the KL divergence of the Bayesian head from its prior."""
        return self.head.divergence() if isinstance(self.head, BayesianLinear) else None


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
