"""`deepgaze evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from deepgaze_jax.cli.compilation import keep_compiled_programs
from deepgaze_jax.cli.messages import Bar, say
from deepgaze_jax.cli.options import CenterBiasOption
from deepgaze_jax.cli.options import output as output_option
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.datasets.home import resolve_dataset
from deepgaze_jax.errors import InputError
from deepgaze_jax.evaluation import evaluate as evaluate_model
from deepgaze_jax.evaluation import find_cache, write_table
from deepgaze_jax.named_center_bias import load_center_bias
from deepgaze_jax.prediction import load_pretrained

__all__ = ["evaluate"]


def evaluate(
    *,
    data: Annotated[str, tyro.conf.arg(metavar="DATA")],
    output: Annotated[Path, output_option("TABLE.csv")],
    model: str = "deepgaze2",
    fold: Literal["auto", "mixture"] | int = "auto",
    center_bias: CenterBiasOption = None,
) -> int:
    """Score a model on the fixations of a data set.

    Writes one row per image (bits per fixation) and the summary beside it as JSON. An
    image that a fold was trained on is never scored by that fold.

    Args:
        data: Name, or folder with images/ and fixations.csv.
        output: Table to be written.
        model: Name, .safetensors file or training run.
        fold: auto (the fold that has not seen the image; the mixture for
            images that are new to all folds), mixture, or the number of
            a fold.
        center_bias: uniform, the name of a data set, or a .npy file, for
            the model and as baseline of the information gain; by
            default the fold's own.
    """
    if output.suffix.lower() != ".csv":
        raise InputError(f"{output}: a table of scores is CSV; end its name in .csv")
    folder = resolve_dataset(data)
    inputs = [Path(folder, name).resolve() for name in ("fixations.csv", "images.csv")]
    if output.resolve() in inputs:
        raise InputError(f"{output}: is a table of the data set; choose another name")
    keep_compiled_programs()
    predictor = load_pretrained(model)
    if center_bias is not None:
        load_center_bias(center_bias)
    dataset = read_folder(folder)
    cache = find_cache(predictor, dataset)
    with Bar("image", "scoring") as bar:
        scores, summary = evaluate_model(
            predictor,
            dataset,
            fold=fold,
            center_bias=center_bias,
            cache=cache,
            progress=bar,
        )
    beside = write_table(output, scores, summary)
    if summary["n_images_refused"]:
        say(
            f"{summary['n_images_refused']} images were left out, because the model "
            f"was trained on them; {beside} names them"
        )
    print(
        f"{predictor.name} on {dataset.name}: {summary['n_images']} images, "
        f"{summary['n_fixations']} fixations"
    )
    print(f"bits/fixation  {'mean over images [95 % interval]':34}mean over fixations")
    for measure, title in (("ig", "IG"), ("ll", "LL")):
        image = summary["per_image"][measure]
        interval = f"{image['mean']:.3f} [{image['low']:.3f}, {image['high']:.3f}]"
        fixation = summary["per_fixation"][measure]["mean"]
        print(f"{title:13}  {interval:34}{fixation:.3f}")
    print(f"IG over {summary['ig_over']}, LL over uniform; {output}, {beside.name}")
    return 0
