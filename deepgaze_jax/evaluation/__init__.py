"""Evaluation: scores of models on data sets, and files for benchmarks."""

from deepgaze_jax.evaluation.model_source import find_cache
from deepgaze_jax.evaluation.one_model import (
    ImageScore,
    evaluate,
    score_image,
    summarise,
    write_table,
)

__all__ = [
    "ImageScore",
    "evaluate",
    "find_cache",
    "score_image",
    "summarise",
    "write_table",
]
