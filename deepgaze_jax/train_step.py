"""One step of maximum-likelihood training, for all folds at once.

Everything is written for one fold and mapped over the leading fold axis with `vmap`.
The images of a batch are all trained on by the same folds: these share the features,
and the first layer of their readouts becomes one matrix product of full width.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from deepgaze_jax.model import FixationModel
from deepgaze_jax.parallel import Placement, in_common, total
from deepgaze_jax.readout import fold_feature_scaling
from deepgaze_jax.step_features import features_of

__all__ = ["Batch", "FoldState", "Optimiser", "init_state", "make_steps", "raw_params"]

Params = Mapping[str, Any]

#: Smallest blur that training may reach, in grid cells; a Gaussian with sigma <= 0
#: does not exist and one far below a cell has no gradient.
MIN_SIGMA_GRID_PX = 0.3


#: Parts of the readout that stay as they are where only the last layers are trained.
_FIRST_LAYER = ("dense0", "layer_norm0")


@dataclasses.dataclass(frozen=True)
class Optimiser:
    """Settings of the optimiser and of what regularises it.

    Attributes:
        solver: Adam, or L-BFGS with a line search on every batch.
        what: all parameters, or only the finalizer and the layers behind the first.
        weight_decay: decoupled, on kernels only; of Adam.
        feature_dropout: share of feature channels that a step hides from a fold.
        average_decay: of the running mean of the parameters, per step; the mean is
            what is validated and released.
        fixed: numbers of the finalizer that stay as they are.
    """

    solver: Literal["adam", "lbfgs"] = "adam"
    what: Literal["all", "last"] = "all"
    weight_decay: float = 0.0
    feature_dropout: float = 0.5
    average_decay: float = 0.98
    fixed: tuple[str, ...] = ()

    def transform(self) -> optax.GradientTransformationExtraArgs:
        """Return the optax transformation, without the learning rate."""
        if self.solver == "lbfgs":
            return optax.lbfgs()
        return optax.with_extra_args_support(
            optax.chain(
                optax.scale_by_adam(),
                optax.add_decayed_weights(self.weight_decay, mask=self._decaying),
                optax.scale(-1.0),
            )
        )

    def trained(self, gradient: Params) -> Params:
        """Return a gradient that is zero for what stays as it is."""
        return jax.tree.map_with_path(
            lambda path, leaf: leaf if self._moves(path) else jnp.zeros_like(leaf),
            gradient,
        )

    def _moves(self, path: tuple[Any, ...]) -> bool:
        names = [key.key for key in path]
        stay = {*self.fixed, *(() if self.what == "all" else _FIRST_LAYER)}
        return not stay & set(names)

    def _decaying(self, params: Params) -> Any:
        """Return a mask that is true for kernels that are trained."""
        return jax.tree.map_with_path(
            lambda path, _: path[-1].key == "kernel" and self._moves(path), params
        )


@flax.struct.dataclass
class FoldState:
    """Everything that training changes; every leaf has a leading fold axis.

    Attributes:
        params: readout and finalizer parameters for scaled features.
        average: running mean of `params`.
        moments: state of the optimiser.
        mean: [F, C], subtracted from the features.
        scale: [F, C], multiplies the centred features.
        best: `average` at the best validation epoch.
        best_score: [F], its validation score in bits/fixation over the center bias.
        best_epoch: [F], its number; 0 before the first.
        active: [F], false once a fold has stopped.
        steps: [F], steps taken.
    """

    params: Params
    average: Params
    moments: Any
    mean: jax.Array
    scale: jax.Array
    best: Params
    best_score: jax.Array
    best_epoch: jax.Array
    active: jax.Array
    steps: jax.Array


@flax.struct.dataclass
class Batch:
    """Images of one size for one step.

    Attributes:
        folds: int [A], positions of the folds that train on these images. On a device
            its own positions, one behind the last standing for no fold.
        features: [B, h, w, C]; or, for a step that computes them, the pictures
            [B, H, W, 3].
        counts: [B, rows, columns], fixations in each cell of the readout grid.
        weights: [B], 1, or 0 for an image that only fills the batch up.
        center_bias: [F, rows, columns] of all folds, pooled to the grid.
        log_pixels: [rows, columns].
        model_size: height and width of the model's images.
        member_weights: [F, B], weights that differ from fold to fold, where they do.
    """

    folds: jax.Array
    features: jax.Array
    counts: jax.Array
    weights: jax.Array
    center_bias: jax.Array
    log_pixels: jax.Array
    model_size: tuple[int, int] = flax.struct.field(pytree_node=False)
    member_weights: jax.Array | None = None

    def weights_of(self, folds: np.ndarray) -> np.ndarray:
        """Return the weights of the images for some folds, [A, B]; on the host."""
        if self.member_weights is not None:
            return self.member_weights[folds]
        return np.broadcast_to(self.weights, (len(folds), len(self.weights)))


def init_state(
    params: Params, mean: jax.Array, scale: jax.Array, optimiser: Optimiser
) -> FoldState:
    """Return the state before the first step.

    Args:
        params: readout and finalizer parameters with leading fold axis F.
        mean: [F, C], mean of each feature channel over the fold's training part.
        scale: [F, C], reciprocal of its standard deviation.
        optimiser: its settings.
    """
    n_folds = mean.shape[0]
    return FoldState(
        params=params,
        average=jax.tree.map(jnp.copy, params),
        moments=jax.vmap(optimiser.transform().init)(params),
        mean=jnp.asarray(mean, jnp.float32),
        scale=jnp.asarray(scale, jnp.float32),
        best=jax.tree.map(jnp.copy, params),
        best_score=jnp.full(n_folds, -jnp.inf, jnp.float32),
        best_epoch=jnp.zeros(n_folds, jnp.int32),
        active=jnp.ones(n_folds, bool),
        steps=jnp.zeros(n_folds, jnp.int32),
    )


def raw_params(params: Params, mean: jax.Array, scale: jax.Array) -> dict[str, Any]:
    """Return parameters for raw features, from ones for scaled features; all folds."""
    return {
        "readout": jax.vmap(fold_feature_scaling)(params["readout"], mean, scale),
        "finalizer": dict(params["finalizer"]),
    }


def _log_likelihoods(
    model: FixationModel, params: Params, batch: Batch, center_bias: jax.Array
) -> jax.Array:
    """Return the mean log-likelihood of each image's fixations under one fold, [B]."""
    return model.finalizer.apply(
        {"params": params["finalizer"]},
        model.readout_map(params["readout"], batch.features, batch.model_size),
        model.map_cells(*batch.model_size),
        center_bias,
        batch.log_pixels,
        batch.counts,
        method="mean_log_density",
    )


def make_steps(
    model: FixationModel, optimiser: Optimiser, placement: Placement | None = None
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiled training step and the compiled validation step.

    Args:
        model: the model.
        optimiser: its settings.
        placement: devices of the training step; the default one alone where left out.

    Returns:
        `train(state, batch, fold_ids, key, rate, network) -> (state, loss [A])`, where
        the state is donated, `fold_ids` [F] number the folds for their random numbers,
        `key` is the step's and `rate` its learning rate; the loss is in nats per
        fixation. `validate(params, mean, scale, batch, network) -> ([B], [B])` gives
        the mean log-likelihood (nats) of images under one fold, `batch.folds` being its
        position and the parameters being without the fold axis; and the standard
        deviation of each readout map. `network` are parameters of the feature network
        for batches of pictures, left out or None for batches of features.
    """
    axis = None if placement is None else placement.batch_axis

    transform = optimiser.transform()

    def with_features(batch: Batch, network: Any) -> Batch:
        size = batch.model_size
        return batch.replace(features=features_of(model, network, batch.features, size))

    def loss(
        params: Params,
        mean: jax.Array,
        scale: jax.Array,
        center_bias: jax.Array,
        weights: jax.Array,
        batch: Batch,
    ) -> jax.Array:
        params = {
            "readout": fold_feature_scaling(params["readout"], mean, scale),
            "finalizer": params["finalizer"],
        }
        values = _log_likelihoods(model, params, batch, center_bias)
        own = -(weights * values).sum()
        return total(own, axis) / total(weights.sum(), axis)

    def train_one(
        state: FoldState,
        center_bias: jax.Array,
        fold_id: jax.Array,
        weights: jax.Array,
        batch: Batch,
        key: jax.Array,
        rate: jax.Array,
    ) -> tuple[FoldState, jax.Array]:
        scale = state.scale
        if optimiser.feature_dropout > 0:
            # Hiding a channel is hiding its row of the first kernel: the features
            # themselves stay shared by all folds. Hidden channels read their mean.
            kept = 1 - optimiser.feature_dropout
            key = jax.random.fold_in(key, fold_id)
            scale = scale * jax.random.bernoulli(key, kept, scale.shape) / kept

        def own_loss(params: Params) -> jax.Array:
            params = in_common(params, axis)
            return loss(params, state.mean, scale, center_bias, weights, batch)

        value, gradient = jax.value_and_grad(own_loss)(state.params)
        gradient = optimiser.trained(gradient)
        updates, moments = transform.update(
            gradient,
            state.moments,
            state.params,
            # Of use to a line search only.
            value=value,
            grad=gradient,
            value_fn=own_loss,
        )
        updates = jax.tree.map(lambda leaf: leaf * rate, updates)
        params = optax.apply_updates(state.params, updates)
        sigma = params["finalizer"]["sigma_grid_px"]
        params["finalizer"]["sigma_grid_px"] = jnp.clip(
            sigma, MIN_SIGMA_GRID_PX, model.max_sigma_grid_px
        )
        # The mean forgets its start faster than it will forget later steps.
        steps = state.steps + 1
        decay = jnp.minimum(optimiser.average_decay, steps / (steps + 9.0))
        average = jax.tree.map(
            lambda old, new: decay * old + (1 - decay) * new, state.average, params
        )
        new = state.replace(
            params=params, average=average, moments=moments, steps=steps
        )
        # A stopped fold stays as it is.
        return jax.tree.map(
            lambda a, b: jnp.where(state.active, a, b), new, state
        ), value

    def train(
        state: FoldState,
        batch: Batch,
        fold_ids: jax.Array,
        key: jax.Array,
        rate: jax.Array,
        network: Any = None,
    ) -> tuple[FoldState, jax.Array]:
        # Frozen: computed once for all folds, outside of what is differentiated.
        batch = with_features(batch, network)

        def of_batch(leaf: jax.Array) -> jax.Array:
            return leaf.at[batch.folds].get(mode="clip")

        part = jax.tree.map(of_batch, state)
        weights, over = batch.weights, None
        if batch.member_weights is not None:
            weights, over = of_batch(batch.member_weights), 0
        part, value = jax.vmap(train_one, in_axes=(0, 0, 0, over, None, None, None))(
            part,
            of_batch(batch.center_bias),
            of_batch(fold_ids),
            weights,
            batch,
            key,
            rate,
        )

        def put_back(all_folds: jax.Array, some: jax.Array) -> jax.Array:
            return all_folds.at[batch.folds].set(some, mode="drop")

        moved = {
            name: jax.tree.map(put_back, getattr(state, name), getattr(part, name))
            for name in ("params", "average", "moments", "steps")
        }
        return state.replace(**moved), value

    def validate(
        params: Params,
        mean: jax.Array,
        scale: jax.Array,
        batch: Batch,
        network: Any = None,
    ) -> tuple[jax.Array, jax.Array]:
        batch = with_features(batch, network)
        params = {
            "readout": fold_feature_scaling(params["readout"], mean, scale),
            "finalizer": params["finalizer"],
        }
        maps = model.readout_map(params["readout"], batch.features, batch.model_size)
        values = _log_likelihoods(model, params, batch, batch.center_bias[batch.folds])
        return values, maps.std(axis=(-2, -1))

    if placement is None:
        return jax.jit(train, donate_argnums=0), jax.jit(validate)
    return placement.compile(train), placement.compile_validation(validate)
