"""A variational autoencoder of black-and-white images; its negative evidence bound is a length of a code, in nats.

Source: Kingma and Welling, ICLR 2014.
"""

import torch
from torch import Tensor, nn

_F = nn.functional


class Vae(nn.Module):
    """One hidden layer on either side.

    Parameters
    ----------
    pixels, hidden, latents : int
    """

    def __init__(self, pixels: int, hidden: int, latents: int) -> None:
        super().__init__()
        self.latents = latents
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latents))
        self.decoder = nn.Sequential(nn.Linear(latents, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance (N, latents) of what images (N, pixels) are drawn from."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance

    def forward(self, x: Tensor) -> Tensor:
        """Nats of images (N, pixels) of values 0 to 1, one draw each: (N,)."""
        return self.nats(x, torch.randn(len(x), self.latents))

    def nats(self, x: Tensor, noise: Tensor) -> Tensor:
        """The same with the draw given, as standard normal noise (N, latents).

        It is the negative evidence lower bound: what the pixels take once the latents are known, and the divergence of
        the latents from their prior.  A value between 0 and 1 is the share of ones of a pixel.
        """
        mean, log_variance = self.posterior(x)
        logits = self.decoder(mean + noise * (0.5 * log_variance).exp())
        pixels = _F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        return pixels + 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).sum(1)
