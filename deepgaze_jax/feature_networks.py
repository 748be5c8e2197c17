"""The feature networks under one face: what a model may stand on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax

from deepgaze_jax import alexnet, icf, vgg, vgg16

__all__ = ["NETWORKS", "FeatureNetwork"]


@dataclass(frozen=True)
class FeatureNetwork:
    """A frozen network as pure functions.

    Attributes:
        features: `features(params, image, taps) -> {tap: *batch rows columns channels}`
            for an image `*batch height width 3`, RGB 0..255; those with weights take
            a `precision`, too.
        tap_channels: channels of a tap.
        tap_grid: rows and columns of a tap for an image of height x width.
        tap_stride: pixels of the image for one cell of a tap.
        peak_bytes_per_pixel: memory that a prediction takes on a CPU, at its peak, for
            each pixel of the image; measured on 11 megapixels.
        has_weights: whether parameters have to be fetched.
    """

    features: Callable[..., dict[str, jax.Array]]
    tap_channels: Callable[[str], int]
    tap_grid: Callable[[str, int, int], tuple[int, int]]
    tap_stride: Callable[[str], int]
    peak_bytes_per_pixel: int
    has_weights: bool = True


#: Feature networks by name.
NETWORKS: Mapping[str, FeatureNetwork] = {
    "vgg19": FeatureNetwork(
        vgg.vgg19_features,
        vgg.tap_channels,
        vgg.tap_grid,
        vgg.tap_stride,
        peak_bytes_per_pixel=1040,
    ),
    "vgg16": FeatureNetwork(
        vgg16.vgg16_features,
        vgg16.tap_channels,
        vgg16.tap_grid,
        vgg16.tap_stride,
        # Its largest maps are those of VGG-19.
        peak_bytes_per_pixel=1040,
    ),
    "alexnet": FeatureNetwork(
        alexnet.alexnet_features,
        alexnet.tap_channels,
        alexnet.tap_grid,
        alexnet.tap_stride,
        peak_bytes_per_pixel=300,
    ),
    "icf": FeatureNetwork(
        icf.icf_features,
        icf.tap_channels,
        icf.tap_grid,
        icf.tap_stride,
        peak_bytes_per_pixel=480,
        has_weights=False,
    ),
}
