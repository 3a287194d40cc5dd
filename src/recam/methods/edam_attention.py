"""EDAM's training: Wu et al., Embedded Discriminative Attention Mechanism, CVPR 2021. Its post-processing, with
saliency maps, is `recam.methods.edam`.

A layer gives each class a mask; the features under a class's mask, of two images, attend to each other in a block of
the class's own, and are classified. So a mask must hold what images of the class have in common. The masks are the
maps.

Followed: the published code (allenwu97/EDAM). Every class's block reads every pair, also where neither image has the
class; the mask is the absolute value of a layer normalised over classes, whose sign is not tied to presence (the
authors' answer to issue 6). Departures: pairs are formed within a batch of any size, those that share a class first
(published: lists of such pairs made beforehand, one pair per GPU); the positions are as many as the features have
(published: 46 × 46). What enters the blocks has B×K×d×h×w entries, d = 128, and attention reads (2hw)² pairs of
positions per class: that is the method. Colour jitter is left out, as augmentation is that of all trainings here.

Letters: B images, G pairs, K classes, D channels, d reduced ones, h×w features, n = h·w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.errors import RecipeError
from recam.methods.arguments import check_labels
from recam.models.backbones import Backbone
from recam.models.classifier import heads
from recam.settings import Count, Settings, Share

NORM_EPS = 1e-6


@dataclass(frozen=True)
class EdamAttentionSettings(Settings):
    """What EDAM's attention depends on; the defaults are the published ones."""

    width: Count = 128
    """d: channels that attention reads."""
    attention_heads: Count = 2
    """Heads of the attention; they divide `width`."""
    dropout: Share = 0.1
    """Part of the values that embedding and blocks do without in each step."""

    def __post_init__(self) -> None:
        if self.width % self.attention_heads or self.width % 2:
            raise RecipeError(
                f"EDAM: width {self.width} must be even and a multiple of attention_heads, {self.attention_heads}."
            )


def class_masks(maps: Tensor) -> Tensor:
    """|m| / ‖m‖₂ over the channels at each position: (B, K + 1, h, w) → the same, in [0, 1]."""
    return F.normalize(maps, dim=1).abs()


def position_codes(n: int, width: int) -> Tensor:
    """(n, d): sin(p / 10000^(2i/d)) and cos of the same in turn, of positions p = 0…n−1 row by row."""
    rates = (torch.arange(0, width, 2) * -(math.log(10000.0) / width)).exp()
    angles = torch.arange(n)[:, None] * rates  # (n, d/2)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def pair_images(labels: Tensor) -> Tensor:
    """Pairs of a batch's images, those that share a class first: labels (B, K) → (⌈B/2⌉, 2) int64 on the CPU.

    Each image takes the next free one that shares a class with it; those left over are paired in order, and a last one
    with the first image of the batch.
    """
    check_labels(labels)
    shared = (labels @ labels.T > 0).tolist()
    free, pairs = list(range(len(labels))), []
    for first in range(len(labels)):
        second = next((each for each in free if each > first and shared[first][each]), None)
        if first in free and second is not None:
            pairs.append((first, second))
            free = [each for each in free if each not in (first, second)]
    pairs += list(zip(free[::2], free[1::2], strict=False))
    pairs += [(free[-1], 0)] if len(free) % 2 else []
    return torch.tensor(pairs)


def layer_norm(tokens: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """a · (x − mean) / (std + ε) + b over the last axis, by the standard deviation of a sample (n − 1)."""
    mean, std = tokens.mean(-1, keepdim=True), tokens.std(-1, keepdim=True)
    return scale * (tokens - mean) / (std + NORM_EPS) + shift


class ByClass(nn.Module):
    """A linear layer for each class: (G, K, m, d_in) → (G, K, m, d_out)."""

    def __init__(self, n_classes: int, inside: int, outside: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, outside, inside))
        self.bias = nn.Parameter(torch.zeros(n_classes, outside))
        for each in self.weight:
            nn.init.xavier_uniform_(each)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens @ self.weight.transpose(1, 2) + self.bias[:, None]


class NormByClass(nn.Module):
    """`layer_norm` for each class: (G, K, m, d)."""

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(n_classes, width)), nn.Parameter(torch.zeros(n_classes, width))

    def forward(self, tokens: Tensor) -> Tensor:
        return layer_norm(tokens, self.scale[:, None], self.shift[:, None])


class BlockByClass(nn.Module):
    """A transformer block for each class on its own tokens (G, K, m, d): x += Attn(LN(x)), then
    x += W₂ · gelu(W₁ · LN(x))."""

    def __init__(self, n_classes: int, width: int, attention_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_heads, self.dropout = attention_heads, dropout
        self.query, self.key, self.value, self.output = (ByClass(n_classes, width, width) for _ in range(4))
        self.widen, self.narrow = ByClass(n_classes, width, 4 * width), ByClass(n_classes, 4 * width, width)
        self.norm_1, self.norm_2 = NormByClass(n_classes, width), NormByClass(n_classes, width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self._drop(self._attend(self.norm_1(tokens)))
        wide = self._drop(F.gelu(self.widen(self.norm_2(tokens)), approximate="tanh"))  # (G, K, m, 4d)
        return self._drop(tokens + self._drop(self.narrow(wide)))

    def _attend(self, tokens: Tensor) -> Tensor:
        groups, classes, count, width = tokens.shape
        split = (groups * classes, count, self.attention_heads, width // self.attention_heads)
        query, key, value = (
            layer(tokens).reshape(split).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )  # (G·K, heads, m, d/heads)
        dropped = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropped)
        joined: Tensor = self.output(mixed.transpose(1, 2).reshape(tokens.shape))
        return joined

    def _drop(self, tokens: Tensor) -> Tensor:
        return F.dropout(tokens, self.dropout, self.training)


@heads.register("edam")
class DiscriminativeAttention(nn.Module):
    """Masks, and the classification of pairs of images by what lies under them.

    Args:
        backbone: whose features these are.
        n_classes: K.
        width: see `EdamAttentionSettings`, as the next two.
    """

    def __init__(
        self, backbone: Backbone, n_classes: int, width: int = 128, attention_heads: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.n_classes, self.dropout = n_classes, dropout
        self.mask = nn.Conv2d(backbone.channels, n_classes + 1, 3, padding=1, bias=False)
        self.reduce = nn.Conv2d(backbone.channels, width, 1, bias=False)
        self.segment = nn.Parameter(torch.empty(2, width))  # tells the images of a pair apart
        self.block = BlockByClass(n_classes, width, attention_heads, dropout)
        self.classify = nn.Parameter(torch.empty(n_classes, width))
        for weight in (self.mask.weight, self.reduce.weight, self.segment, self.classify):
            nn.init.xavier_uniform_(weight)

    def masks(self, features: Tensor) -> Tensor:
        """(B, D, h, w) → (B, K + 1, h, w) in [0, 1]; the last channel is no class."""
        return class_masks(self.mask(features))

    def forward(self, features: Tensor, pairs: Tensor) -> Tensor:
        """Features (B, D, h, w) and pairs (G, 2) of their images → logits (G, 2, K)."""
        masks = self.masks(features)[:, : self.n_classes]  # (B, K, h, w)
        reduced = self.reduce(features)  # (B, d, h, w)
        positions = position_codes(reduced[0, 0].numel(), reduced.shape[1]).to(reduced)  # (n, d)
        flat, shares = reduced.flatten(2).transpose(1, 2), masks.flatten(2)  # (B, n, d), (B, K, n)
        tokens = flat[:, None] * shares[..., None] + positions  # (B, K, n, d)
        paired = tokens[pairs] + self.segment[:, None, None]  # (G, 2, K, n, d)
        paired = F.dropout(paired.transpose(1, 2), self.dropout, self.training)  # (G, K, 2, n, d)
        read = self.block(paired.flatten(2, 3)).view_as(paired)  # (G, K, 2, n, d)
        logits: Tensor = (read.mean(3) * self.classify[:, None]).sum(3)  # (G, K, 2)
        return logits.transpose(1, 2)
