"""The known models, as configurations."""

from collections.abc import Callable, Mapping

from deepgaze_jax.model import FixationModel

__all__ = [
    "ARCHITECTURES",
    "deepgaze1",
    "deepgaze2",
    "deepgaze2_iie_readout",
    "deepgaze2_vgg16",
    "icf",
]


def deepgaze2() -> FixationModel:
    """Return the configuration of DeepGaze II.

    Reference:
        Kümmerer, Wallis & Bethge 2016, arXiv 1610.01563.

    Example:
        >>> deepgaze2().channels
        2560
    """
    return FixationModel()


def deepgaze1() -> FixationModel:
    """Return the configuration of DeepGaze I as its public PyTorch re-issue has it.

    The re-issue makes its kernel 2 * ceil(3 * sigma) + 1 taps wide. Here the number of
    taps is fixed by the widest blur allowed (sigma 20 cells), and those beyond
    ceil(3 * sigma) have the weight zero: the same kernel in a shape that never changes.

    Reference:
        Kümmerer, Theis & Bethge 2015, arXiv 1411.1045. PAPER: the original had Caffe's
        AlexNet, several layers and a sparsity penalty; the re-issue has one layer.

    Example:
        >>> deepgaze1().feature_grid(768, 1024)
        (23, 31)
    """
    return FixationModel(
        network="alexnet",
        taps=("conv5",),
        sampling="nearest",
        widths=(1,),
        blur_radius=60,
        blur_truncate=3.0,
        sigma_grid_px=8.0,
    )


def icf() -> FixationModel:
    """Return the configuration of ICF, which sees only intensity and contrast.

    Reference:
        Kümmerer, Wallis, Gatys & Bethge 2017, ICCV; constants of the authors' release.

    Example:
        >>> icf().channels
        30
    """
    return FixationModel(network="icf", taps=("icf",), readout_stride=8)


def deepgaze2_iie_readout() -> FixationModel:
    """Return DeepGaze II's features under the later readout of the PyTorch code.

    Layer norms over whole images, softplus, widths 8, 16, 1, then a selection network
    of 128, 16, 1.

    Reference:
        Linardos et al. 2021, arXiv 2105.12441 (DeepGaze IIE).

    Example:
        >>> deepgaze2_iie_readout().layer_norm
        True
    """
    return FixationModel(
        widths=(8, 16, 1, 128, 16, 1), nonlinearity="softplus", layer_norm=True
    )


def deepgaze2_vgg16() -> FixationModel:
    """Return DeepGaze II on VGG-16 with torchvision's values, for comparison.

    Its taps are the nearest of the smaller network: relu5_3 in place of relu5_4.

    Example:
        >>> deepgaze2_vgg16().channels
        2560
    """
    taps = ("conv5_1", "relu5_1", "relu5_2", "conv5_3", "relu5_3")
    return FixationModel(network="vgg16", taps=taps)


#: Models by name.
ARCHITECTURES: Mapping[str, Callable[[], FixationModel]] = {
    "deepgaze2": deepgaze2,
    "deepgaze2-iie-readout": deepgaze2_iie_readout,
    "deepgaze2-vgg16": deepgaze2_vgg16,
    "deepgaze1": deepgaze1,
    "icf": icf,
}
