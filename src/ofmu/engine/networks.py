"""Small image networks of our own: smooth by default, and rebuilt exactly from a plain config.

SiLU is the default activation and group normalisation the default norm, because curvature needs both: on a
ReLU network finite differences are wrong at every step size, and batch normalisation moves its running
statistics whenever a loss is probed. Every layer keeps torch's own initialisation, so that resetting a layer
(`ofmu.engine.reset`) draws from the distribution that it was born with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofmu.errors import UserError

Activation = Literal["silu", "relu"]
Norm = Literal["group", "batch"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU}


@dataclass(frozen=True)
class CNNConfig:
    """Shape of a `CNN`: images are [channels, size, size]; widths are the convolutions' channels."""

    classes: int = 10
    channels: int = 1
    size: int = 8
    widths: tuple[int, int] = (8, 16)
    hidden: int = 64
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        _at_least(self, {"classes": 2, "channels": 1, "size": 2, "hidden": 1})
        _one_of(self, "activation", ACTIVATIONS)
        if len(self.widths) != 2 or any(not isinstance(w, int) or w < 1 for w in self.widths):
            raise UserError(f"widths: found {self.widths!r}, expected two integers ≥ 1")


@dataclass(frozen=True)
class ResNetConfig:
    """Shape of a `ResNet`: 6·blocks + 2 weight layers; three stages of width, 2·width and 4·width channels.

    groups: channel groups of norm="group" (it must divide width); unused with norm="batch". stem: stride of the
    first convolution; 2 halves every side that follows, at about a quarter of the cost.
    """

    classes: int = 10
    channels: int = 3
    size: int = 32
    blocks: int = 3
    width: int = 16
    groups: int = 8
    activation: Activation = "silu"
    norm: Norm = "group"
    stem: int = 1

    def __post_init__(self) -> None:
        least = {"classes": 2, "channels": 1, "size": 4, "blocks": 1, "width": 1, "groups": 1, "stem": 1}
        _at_least(self, least)
        _one_of(self, "activation", ACTIVATIONS)
        _one_of(self, "norm", ("group", "batch"))
        if self.norm == "group" and self.width % self.groups:
            raise UserError(f"groups: found {self.groups}, expected a divisor of width = {self.width}")


class CNN(nn.Module):
    """Two convolutions and two linear layers: conv, pool by 2, conv, linear, linear.

    With the default config on 8 × 8 digits: 18,234 parameters.
    """

    Config = CNNConfig

    def __init__(self, config: CNNConfig) -> None:
        super().__init__()
        self._config = config
        first, second = config.widths
        self.conv1 = nn.Conv2d(config.channels, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.linear = nn.Linear(second * (config.size // 2) ** 2, config.hidden)
        self.head = nn.Linear(config.hidden, config.classes)
        self.act = ACTIVATIONS[config.activation]()

    def config(self) -> dict[str, object]:
        """The config as plain data: `build` makes the same network from it."""
        return asdict(self._config)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits [b, classes] of images [b, channels, size, size]."""
        x = F.avg_pool2d(self.act(self.conv1(pixel_values)), 2)
        x = self.act(self.conv2(x)).flatten(1)
        return self.head(self.act(self.linear(x)))


class Block(nn.Module):
    """Two convolutions beside a shortcut without parameters: y = act(x↓ + norm conv act norm conv x)."""

    def __init__(self, config: ResNetConfig, width_in: int, width_out: int) -> None:
        super().__init__()
        self.stride = 1 if width_in == width_out else 2
        self.conv1 = nn.Conv2d(width_in, width_out, 3, self.stride, padding=1, bias=False)
        self.norm1 = _norm(config, width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1, bias=False)
        self.norm2 = _norm(config, width_out)
        self.act = ACTIVATIONS[config.activation]()

    def forward(self, x: Tensor) -> Tensor:
        """[b, width_in, s, s] to [b, width_out, s/stride, s/stride]."""
        y = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
        if self.stride == 2:  # subsample, and fill the new channels with zeros: the shortcut has no weights
            x = x[:, :, ::2, ::2]
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return self.act(x + y)


class ResNet(nn.Module):
    """The CIFAR residual network of He et al. 2016 (§4.2, shortcut A); blocks = 3 is ResNet-20.

    With width 16, 10 classes and either norm: 269,722 parameters.
    """

    Config = ResNetConfig

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self._config = config
        w, n = config.width, config.blocks
        self.conv = nn.Conv2d(config.channels, w, 3, config.stem, padding=1, bias=False)
        self.norm = _norm(config, w)
        widths = [w] * (n + 1) + [2 * w] * n + [4 * w] * n
        self.blocks = nn.Sequential(*(Block(config, a, b) for a, b in pairwise(widths)))
        self.head = nn.Linear(4 * w, config.classes)
        self.act = ACTIVATIONS[config.activation]()

    def config(self) -> dict[str, object]:
        """The config as plain data: `build` makes the same network from it."""
        return asdict(self._config)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits [b, classes] of images [b, channels, size, size]."""
        x = self.blocks(self.act(self.norm(self.conv(pixel_values))))
        return self.head(x.mean(dim=(2, 3)))


Network = CNN | ResNet
NETWORKS: dict[str, type[CNN] | type[ResNet]] = {"digits-cnn": CNN, "cifar-resnet": ResNet}


def build(name: str, config: CNNConfig | ResNetConfig | Mapping[str, object], seed: int) -> Network:
    """The network `name`, initialised from `seed` alone (the global random state is left as it was).

    config: the network's config dataclass, or the dict that its `config()` gave.
    Raises UserError for an unknown name, an unknown field or a value out of range.
    """
    if name not in NETWORKS:
        raise UserError(f"network: found {name!r}, expected one of {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    if isinstance(config, Mapping):
        config = _parsed(name, network.Config, config)
    if not isinstance(config, network.Config):
        raise UserError(f"network {name}: found {type(config).__name__}, expected {network.Config.__name__}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(config)  # type: ignore[arg-type]


def network_name(module: nn.Module) -> str | None:
    """The name that `build` knows this network by; None for a module that is not ours."""
    return next((name for name, kind in NETWORKS.items() if type(module) is kind), None)


def _parsed(
    name: str, kind: type[CNNConfig] | type[ResNetConfig], values: Mapping[str, object]
) -> CNNConfig | ResNetConfig:
    known = [f.name for f in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"network {name}: unknown {', '.join(unknown)}; expected {', '.join(known)}")
    # JSON knows no tuples
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return kind(**plain)  # type: ignore[arg-type]


def _norm(config: ResNetConfig, width: int) -> nn.Module:
    return nn.GroupNorm(config.groups, width) if config.norm == "group" else nn.BatchNorm2d(width)


def _at_least(config: CNNConfig | ResNetConfig, least: Mapping[str, int]) -> None:
    for name, bound in least.items():
        found = getattr(config, name)
        if isinstance(found, bool) or not isinstance(found, int) or found < bound:
            raise UserError(f"{name}: found {found!r}, expected an integer ≥ {bound}")


def _one_of(config: CNNConfig | ResNetConfig, name: str, allowed: Mapping[str, object] | tuple[str, ...]) -> None:
    if getattr(config, name) not in allowed:
        raise UserError(f"{name}: found {getattr(config, name)!r}, expected one of {', '.join(allowed)}")
