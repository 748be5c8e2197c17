"""Images a second on an accelerator, and the share of its matrix products' speed.

    python experiments/benchmarks/accelerator_speed.py -o accelerator_speed.json

Features, readouts of all folds and the mixture of a batch of pictures that lie on the
device already, as one program for each precision of VGG-19's products. The share is
what the multiply-adds of the convolutions take of the speed that one large product of
bfloat16 matrices reaches here. Runs on a CPU, too, to see that it works.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deepgaze_jax import load_pretrained, vgg
from deepgaze_jax.model import mixture
from deepgaze_jax.ops import pooled_size
from deepgaze_jax.readout_grid import center_bias_on_grid


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call, after a first one."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def product_rate(size: int, repeats: int) -> float:
    """Return multiply-adds a second of a product of bfloat16 matrices."""
    a = jnp.ones((size, size), jnp.bfloat16)
    product = jax.jit(lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32))
    return size**3 / seconds(lambda: product(a, a), repeats)


def multiply_adds(height: int, width: int) -> int:
    """Return those of VGG-19's convolutions for an image of the model."""
    size = pooled_size(height, 2), pooled_size(width, 2)
    total, channels = 0, 3
    for name, outputs in vgg.CONVOLUTIONS.items():
        rows, columns = vgg.tap_grid(name, *size)
        total += 9 * rows * columns * channels * outputs
        channels = outputs
    return total


def main() -> None:
    """Print and write images a second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=(1120, 1493))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--matrix", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    size = tuple(arguments.size)
    predictor = load_pretrained("deepgaze2")
    model, params = predictor.model, jax.device_put(dict(predictor.params))
    values = predictor.feature_stage.params
    bias = center_bias_on_grid(model, predictor.center_biases[-1], size)
    log_pixels = model.pixel_grid(*size).log_pixels
    rate = product_rate(arguments.matrix, arguments.repeats)
    lines, exact = [], None
    for precision in ("float32", "tensorfloat32", "bfloat16"):

        @jax.jit
        def predict(images, values, params, precision=precision):
            features = model.features(values, images, precision)
            arguments = features, bias[None], log_pixels, size
            return mixture(model.grid_log_density(params, *arguments))

        for batch in arguments.batch:
            rng = np.random.default_rng(0)
            shape = (batch, *size, 3)
            images = jax.device_put(rng.uniform(0, 255, shape).astype(np.float32))
            try:
                result = np.asarray(predict(images, values, params))[0]
                took = seconds(
                    lambda images=images: predict(images, values, params),
                    arguments.repeats,
                )
            except jax.errors.JaxRuntimeError as error:
                lines.append(
                    {
                        "precision": precision,
                        "batch": batch,
                        "failed": str(error).splitlines()[0][:100],
                    }
                )
                continue
            exact = result if exact is None else exact
            lines.append(
                {
                    "precision": precision,
                    "batch": batch,
                    "images_a_second": round(batch / took, 2),
                    "share_of_bfloat16_products": round(
                        batch * multiply_adds(*size) / took / rate, 3
                    ),
                    "difference_from_float32": float(
                        f"{np.abs(result - exact).max():.1e}"
                    ),
                }
            )
            print(json.dumps(lines[-1]), flush=True)
    result = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "model_size": list(size),
        "bfloat16_product_tflops": round(2 * rate / 1e12, 2),
        "lines": lines,
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
