"""Evaluation: scores of models on data sets, and files for benchmarks."""

from deepgaze_jax.evaluation.comparison import ImageRow, ModelScores, ScoreSettings
from deepgaze_jax.evaluation.model_source import find_cache
from deepgaze_jax.evaluation.one_model import evaluate
from deepgaze_jax.evaluation.results import Report, write_report

__all__ = [
    "ImageRow",
    "ModelScores",
    "Report",
    "ScoreSettings",
    "evaluate",
    "find_cache",
    "write_report",
]
