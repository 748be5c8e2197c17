"""Images of a batch over the devices of one process, each alone with its own.

For what is done image by image, without a word between devices: features, moments and
scores. Where members of a run lie, and the images of a training step: `parallel.py`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

__all__ = ["BATCH", "Spread"]

#: Name of the axis of meshes that images lie along.
BATCH = "batch"


@dataclasses.dataclass(frozen=True)
class Spread:
    """Images of a batch over some devices of a process, which know nothing of others.

    Attributes:
        devices: in order; one program runs on all of them.
    """

    devices: tuple[jax.Device, ...]

    @functools.cached_property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (BATCH,), axis_types=(AxisType.Auto,))

    def sharding(self, spec: P) -> Sharding:
        """Return where an array lies that is cut as `spec` says."""
        if len(self.devices) == 1:
            return SingleDeviceSharding(self.devices[0])
        return NamedSharding(self._mesh, spec)

    def full(self, n_images: int) -> int:
        """Return the size of a batch of so many images when it is filled up."""
        n = len(self.devices)
        return -(-n_images // n) * n

    def put_images(self, images: Any) -> Any:
        """Return arrays `[B, ...]`, B as from `full`, each device with its images."""
        return jax.device_put(images, self.sharding(P(BATCH)))

    def put_shared(self, values: Any) -> Any:
        """Return arrays that every device has, from host ones or placed ones."""
        return jax.device_put(values, self.sharding(P()))

    def compile(self, function: Callable[..., Any], specs: Any = None) -> Any:
        """Return a compiled function of what is shared and of images.

        Args:
            function: `(shared, images) -> results`, trees of arrays; those of images
                and of results have a leading image axis.
            specs: function from arguments to a `PartitionSpec` for each, where they
                are others.
        """
        if len(self.devices) == 1:
            return jax.jit(function)

        def spread(*arguments: Any) -> Any:
            return jax.shard_map(
                function,
                mesh=self._mesh,
                in_specs=specs(*arguments) if specs else (P(), P(BATCH)),
                out_specs=P(BATCH),
                check_vma=False,
            )(*arguments)

        return jax.jit(spread)
