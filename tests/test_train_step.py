import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny

from deepgaze_jax import weights
from deepgaze_jax.architectures import deepgaze2
from deepgaze_jax.datasets.features import build_cache, plan_cache
from deepgaze_jax.datasets.folder import read_folder
from deepgaze_jax.folds import Fold, make_folds
from deepgaze_jax.model import FixationModel, select_folds
from deepgaze_jax.readout import fold_feature_scaling
from deepgaze_jax.train_step import (
    MIN_SIGMA_GRID_PX,
    Batch,
    Optimiser,
    init_state,
    make_steps,
    raw_params,
)
from deepgaze_jax.training_data import prepare

SHALLOW = FixationModel(taps=tiny.TAPS, widths=(4, 2, 1))
SCALE = 1.25
PLAIN = Optimiser(feature_dropout=0.0, weight_decay=0.1, average_decay=0.5)
DROPOUT = Optimiser(feature_dropout=0.75, weight_decay=0.1)
N_FOLDS = 3
FOLD_IDS = jnp.arange(N_FOLDS)
# The steps are compiled once for all tests.
steps_of = functools.cache(make_steps)


def prepared(folder, tiny_weights, cache_folder, model=SHALLOW, folds=None):
    """A data set with everything that training reads."""
    dataset = read_folder(folder)
    scales = np.full(len(dataset), SCALE)
    plan = plan_cache(dataset, model, "w", cache_folder, scales)
    cache = build_cache(plan, dataset, model, tiny_weights[1])
    folds = folds or make_folds(len(dataset), n_folds=N_FOLDS)
    return dataset, prepare(dataset, cache, model, folds, range(len(folds)))


@pytest.fixture(scope="module")
def one(tiny_folders, tiny_weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    return prepared(tiny_folders["one"], tiny_weights, folder)


@pytest.fixture(scope="module")
def batch(one):
    """A whole batch, as if all folds trained on its images."""
    return next(
        batch.replace(folds=np.arange(N_FOLDS))
        for _, batch, _ in one[1].training_batches(4, 0, 0)
        if batch.weights.all()
    )


@pytest.fixture(scope="module")
def initial(one):
    """A state before the first step, on the host; both optimisers begin with it."""
    return host(start(one[1], PLAIN))


def start(data, optimiser, model=SHALLOW, folds=range(N_FOLDS), seed=0):
    params = select_folds(model.init(seed, N_FOLDS), list(folds))
    mean, std = data.moments()
    return init_state(params, mean, 1 / std, optimiser)


def host(tree):
    return jax.tree.map(np.array, tree)


def max_difference(a, b):
    """Largest difference of a leaf in units of its largest value, over all leaves."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(
        float(np.abs(np.float64(x) - y).max() / max(np.abs(y).max(), 1e-12))
        for x, y in leaves
    )


def test_loss_is_the_oracles(tiny_weights, tmp_path):
    """The whole of DeepGaze II on enlarged pictures, pixel by pixel."""
    folder = tiny.write_folder(tmp_path / "d", [(45, 62)] * 5, 3, without=(4,))
    model = deepgaze2()
    folds = [Fold([0, 1, 2, 4], [3], []), Fold([1, 2, 3, 4], [0], [])]
    dataset, data = prepared(folder, tiny_weights, tmp_path, model, folds)
    state = host(start(data, PLAIN, model, range(2)))
    # A different sigma, weight and bias everywhere, so that nothing is at rest.
    rng = np.random.default_rng(0)
    state.params["finalizer"]["sigma_grid_px"][:] = 1.3, 4.0
    state.params["finalizer"]["center_bias_weight"][:] = 0.7, 1.4
    for layer in ("dense0", "dense1", "dense2"):
        bias = state.params["readout"][layer]["bias"]
        bias += rng.normal(size=bias.shape) * 0.1
    # Deep random features differ little over an image, so dividing by their deviation
    # blows up the last bits in which float32 and float64 differ.
    state.scale[:] *= 0.3
    params = raw_params(state.params, state.mean, state.scale)

    def oracle_features(image):
        model_size = data.cache.plan.model_sizes[image]
        resized = oracles.resize_image(dataset.image(image), *model_size)
        return oracles.deepgaze2_features(tiny_weights[1], resized)

    def stored_features(image):
        return data.cache.read([image], data.model.taps)[0]

    def expected(image, fold, features):
        log_density = tiny.log_density(
            features,
            select(params["readout"], fold),
            select(params["finalizer"], fold),
            data.center_biases[fold],
            data.cache.plan.model_sizes[image],
            dataset.image_sizes[image],
            factor=8,
        )
        own = dataset.fixations.select(dataset.fixations.image == image)
        bits = oracles.log_likelihood(log_density, own.x, own.y)
        return (bits * np.log(2) - np.log(log_density.size)).mean()

    def all_expected(features):
        return np.array(
            [[expected(i, k, features(i)) for i in range(4)] for k in range(2)]
        )

    table = all_expected(stored_features)
    assert np.ptp(table) > 0.5
    assert np.abs(table - all_expected(oracle_features)).max() < 5e-5
    train, validate = steps_of(model, PLAIN)
    seen = []
    for _, batch, _ in data.training_batches(4, 0, 0):
        images = images_of(data, batch)
        _, loss = train(
            jax.tree.map(jnp.array, state),
            batch,
            jnp.arange(2),
            jax.random.key(0),
            np.float32(0.1),
        )
        assert len(loss) == len(batch.folds) > 0
        for value, k in zip(loss, batch.folds, strict=True):
            assert np.isin(images, folds[k].train).all()
            expected_loss = -table[k, images].mean()
            np.testing.assert_allclose(value, expected_loss, rtol=0, atol=1e-5)
            seen += [(int(k), image) for image in images]
    assert sorted(seen) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]
    seen = []
    for batch, index in data.validation_batches(4):
        k = int(batch.folds)
        own = select((state.params, state.mean, state.scale), k)
        found, _ = validate(*own, batch)
        for position in np.flatnonzero(batch.weights):
            image = index[position]
            np.testing.assert_allclose(
                found[position], table[k, image], rtol=0, atol=1e-5
            )
            seen.append((k, image))
    assert sorted(seen) == [(0, 3), (1, 0)]


def select(tree, fold):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[fold], tree)


def images_of(data, batch):
    """The images of a training batch that count, found by their features."""
    out = []
    for features in np.asarray(batch.features)[batch.weights > 0]:
        for group in data.groups:
            out += [
                int(i)
                for i in group.images
                if data.cache.plan.shape([i], data.model.taps)[1:] == features.shape
                and np.array_equal(data.cache.read([i], data.model.taps)[0], features)
            ]
    return out


def test_baseline_is_the_center_bias_on_the_pictures_pixels(one):
    dataset, data = one
    for k in range(N_FOLDS):
        for image in range(len(dataset)):
            own = dataset.fixations.select(dataset.fixations.image == image)
            if not len(own):
                continue
            bias = oracles.map_back(data.center_biases[k], *dataset.image_sizes[image])
            bits = oracles.log_likelihood(bias, own.x, own.y).mean()
            expected = bits * np.log(2) - np.log(64 * 96)
            assert data.baseline[k, image] == pytest.approx(expected, abs=1e-6)
    for _, batch, baselines in data.training_batches(4, 0, 0):
        images = images_of(data, batch)
        assert batch.weights.sum() == len(images) > 0
        for baseline, k in zip(baselines, batch.folds, strict=True):
            assert baseline == pytest.approx(data.baseline[k, images].mean())


def test_moments_are_those_of_the_training_part(one):
    _, data = one
    means, stds = data.moments()
    for k, fold in enumerate(data.folds):
        images = np.setdiff1d(fold.train, [5])
        features = data.cache.read(images, data.model.taps).astype(np.float64)
        features = features.reshape(-1, features.shape[-1])
        np.testing.assert_allclose(means[k], features.mean(0), rtol=1e-5, atol=1e-5)
        std = features.std(axis=0)
        # Channels that never fire must not be divided by zero.
        assert (std == 0).any()
        std = np.maximum(std, 1e-2 * std.mean())
        np.testing.assert_allclose(stds[k], std, rtol=1e-3)


def test_raw_parameters_mean_the_same(one, initial):
    """In float64, so that nothing but the algebra counts."""
    _, data = one
    state = host(initial)
    features = data.cache.read([2], data.model.taps)[0].astype(np.float64)
    params = raw_params(state.params, state.mean, state.scale)
    for k in range(N_FOLDS):
        dense0 = select(state.params["readout"]["dense0"], k)
        kernel = np.float64(dense0["kernel"]) * state.scale[k][:, None]
        expected = (features - state.mean[k]) @ kernel + dense0["bias"]
        raw = select(params["readout"]["dense0"], k)
        found = features @ np.float64(raw["kernel"]) + raw["bias"]
        size = np.abs(features).max() * np.abs(kernel).sum(axis=0).max()
        assert np.abs(found - expected).max() < 1e-6 * size
        np.testing.assert_array_equal(
            raw["kernel"], np.float32(dense0["kernel"]) * state.scale[k][:, None]
        )
        folded = fold_feature_scaling(
            select(state.params["readout"], k), state.mean[k], state.scale[k]
        )
        for name in ("dense1", "dense2"):
            jax.tree.map(
                np.testing.assert_array_equal,
                folded[name],
                select(state.params["readout"], k)[name],
            )
    jax.tree.map(
        np.testing.assert_array_equal, params["finalizer"], state.params["finalizer"]
    )


def run_step(state, batch, optimiser=PLAIN, ids=FOLD_IDS, step=0, rate=0.01):
    """A step that leaves `state` as it is; the result on the host."""
    state, loss = steps_of(SHALLOW, optimiser)[0](
        jax.tree.map(jnp.array, state),
        batch,
        ids,
        jax.random.key(step),
        np.float32(rate),
    )
    return host(state), np.asarray(loss)


def test_gradients_are_differences_of_the_loss(initial, batch):
    """Adam's first moment after one step is a tenth of the gradient. In float64."""
    with jax.enable_x64(True):
        double = functools.partial(
            jax.tree.map,
            lambda leaf: jnp.asarray(
                leaf, np.float64 if leaf.dtype == np.float32 else leaf.dtype
            ),
        )
        state = double(host(initial))
        exact = double(batch)
        after, _ = run_step(state, exact)
        assert after.params["readout"]["dense0"]["kernel"].dtype == np.float64
        gradient = host(jax.tree.map(lambda leaf: leaf / 0.1, after.moments[0].mu))

        def loss(path, place, delta):
            params = host(state.params)
            leaf = functools.reduce(lambda leaf, key: leaf[key.key], path, params)
            leaf[(slice(None), *place)] += delta
            return run_step(state.replace(params=params), exact)[1]

        places = []
        for path, leaf in jax.tree.leaves_with_path(gradient):
            # The entry that matters most to some fold, and another one.
            shape = leaf.shape[1:]
            largest = np.unravel_index(np.abs(leaf).max(axis=0).argmax(), shape)
            places += [(path, largest), (path, tuple(n // 2 for n in shape))]
        assert len({path for path, _ in places}) == 2 + 5
        slopes = []
        for path, place in places:
            entry = functools.reduce(lambda leaf, key: leaf[key.key], path, gradient)
            up, down = loss(path, place, 1e-6), loss(path, place, -1e-6)
            np.testing.assert_allclose(
                (up - down) / 2e-6,
                entry[(slice(None), *place)],
                rtol=1e-5,
                atol=1e-6,
                err_msg=jax.tree_util.keystr(path),
            )
            slopes.append(np.abs(up - down) / 2e-6)
        assert np.median(slopes) > 1e-3


def test_folds_do_not_see_one_another(initial, batch):
    changed = host(initial)
    changed.params["readout"]["dense0"]["kernel"][1] *= 1.1
    a, a_loss = run_step(initial, batch)
    b, b_loss = run_step(changed, batch)
    assert (a_loss == b_loss).tolist() == [True, False, True]
    for k in (0, 2):
        jax.tree.map(np.testing.assert_array_equal, select(a, k), select(b, k))


def test_first_step_by_hand(initial, batch):
    """Adam moves every entry by the rate; decay moves kernels only."""
    state = host(initial)
    after, _ = run_step(state, batch)
    gradient = jax.tree.map(lambda leaf: leaf / 0.1, after.moments[0].mu)

    def expected(path, before, gradient):
        decay = 0.1 * before if path[-1].key == "kernel" else 0.0
        step = gradient / (np.abs(gradient) + 1e-8)
        return before - 0.01 * (step + decay)

    by_hand = jax.tree.map_with_path(expected, state.params, gradient)
    assert max_difference(after.params, by_hand) < 1e-5
    # The mean's first decay is 1 / 10.
    mean = jax.tree.map(lambda a, b: 0.1 * a + 0.9 * b, state.params, after.params)
    assert max_difference(after.average, mean) < 1e-6
    np.testing.assert_array_equal(after.steps, 1)


def test_running_mean_over_steps(initial, batch):
    state = host(initial)
    mean = state.params
    for step in range(1, 4):
        state, _ = run_step(state, batch, step=step)
        decay = min(0.5, step / (step + 9))
        new = jax.tree.map(functools.partial(np.multiply, 1 - decay), state.params)
        mean = jax.tree.map(functools.partial(np.multiply, decay), mean)
        mean = jax.tree.map(np.add, mean, new)
    assert max_difference(state.average, mean) < 1e-5


@pytest.mark.parametrize("optimiser", [PLAIN, DROPOUT], ids=("plain", "dropout"))
def test_stopped_fold_and_fold_of_other_images_stay_bit_by_bit(
    initial, batch, optimiser
):
    state, _ = run_step(initial, batch, optimiser)
    state.active[0] = False
    part = batch.replace(folds=np.array([0, 2]))
    after, loss = run_step(state, part, optimiser)
    for k in (0, 1):
        jax.tree.map(np.testing.assert_array_equal, select(after, k), select(state, k))
    assert after.steps.tolist() == [1, 1, 2]
    assert max_difference(select(after.params, 2), select(state.params, 2)) > 1e-3
    assert loss.shape == (2,) and np.isfinite(loss).all() and (loss > 0).all()
    # The fold that moved does not depend on those that did not.
    alone, _ = run_step(state, batch, optimiser)
    assert max_difference(select(alone.params, 2), select(after.params, 2)) < 1e-5


def test_loss_ignores_images_that_fill_a_batch_up(initial, batch):
    """What weight 0 hides may be anything."""
    hidden = batch.replace(weights=np.float32([1, 1, 0, 0]))
    features, counts = np.array(hidden.features), np.array(hidden.counts)
    features[2:], counts[2:] = 1e3, 0
    changed = hidden.replace(features=jnp.asarray(features), counts=counts)
    (a, a_loss), (b, b_loss) = run_step(initial, hidden), run_step(initial, changed)
    np.testing.assert_allclose(a_loss, b_loss, rtol=1e-6)
    assert max_difference(a.params, b.params) < 1e-6


@pytest.mark.parametrize(
    ("start_at", "expected"), [(0.31, MIN_SIGMA_GRID_PX), (19.99, 20)]
)
def test_sigma_stays_in_its_range(initial, batch, start_at, expected):
    state = host(initial)
    state.params["finalizer"]["sigma_grid_px"][:] = start_at
    # Adam's first step is as long as the rate: it leaves the range one way.
    after, _ = run_step(state, batch, rate=0.5)
    found = after.params["finalizer"]["sigma_grid_px"]
    gradient = after.moments[0].mu["finalizer"]["sigma_grid_px"]
    unclipped = start_at - 0.5 * np.sign(gradient)
    np.testing.assert_allclose(
        found, np.clip(unclipped, MIN_SIGMA_GRID_PX, 20), rtol=1e-5
    )
    # A gradient that points outwards: Adam follows the first moment.
    outwards = 1e3 if expected < 1 else -1e3
    state.moments[0].mu["finalizer"]["sigma_grid_px"][:] = outwards
    after, loss = run_step(state, batch, rate=0.5)
    found = after.params["finalizer"]["sigma_grid_px"]
    np.testing.assert_array_equal(found, np.float32(expected))
    assert np.isfinite(loss).all()
    _, loss = run_step(after, batch)
    assert np.isfinite(loss).all()


def hidden_channels(initial, batch, step, ids=FOLD_IDS, rows=slice(None)):
    """bool [F, C]: rows of the first kernel that got no gradient in a step."""
    state = jax.tree.map(lambda leaf: leaf[rows], host(initial))
    center_bias = batch.center_bias[rows]
    part = batch.replace(folds=np.arange(len(center_bias)), center_bias=center_bias)
    after, _ = run_step(state, part, DROPOUT, ids, step)
    return (after.moments[0].mu["readout"]["dense0"]["kernel"] == 0).all(axis=2)


def test_dropout_hides_the_stated_share_anew_for_each_fold_and_step(initial, batch):
    first, second = (hidden_channels(initial, batch, step) for step in (0, 1))
    n = first.shape[1]
    # Within five standard deviations of a binomial distribution.
    for hidden in (*first, *second):
        assert abs(hidden.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / n)
    for a, b in ((first[0], first[1]), (first[1], first[2]), (first[0], second[0])):
        # Independent: both hide a channel with 0.75 squared.
        assert abs((a & b).mean() - 0.75**2) < 5 * np.sqrt(0.56 * 0.44 / n)
    again = hidden_channels(initial, batch, 0)
    np.testing.assert_array_equal(again, first)
    solo = hidden_channels(initial, batch, 0, jnp.array([1]), slice(1, 2))
    np.testing.assert_array_equal(solo[0], first[1])


def test_dropout_keeps_the_expected_first_layer(initial, batch):
    """What is kept counts four times: the loss is that of the scaled channels."""
    state = host(initial)
    hidden = hidden_channels(initial, batch, 0)
    _, loss = run_step(state, batch, DROPOUT, step=0)
    by_hand = state.replace(scale=np.float32(state.scale * ~hidden * 4))
    _, expected = run_step(by_hand, batch)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("fold", range(N_FOLDS))
def test_fold_alone_and_among_others(one, tiny_folders, fold):
    """After a step, and after an epoch, with dropout."""
    dataset, data = one
    folds = make_folds(len(dataset), n_folds=N_FOLDS)
    alone = prepare(dataset, data.cache, SHALLOW, folds, [fold])
    train, _ = steps_of(SHALLOW, DROPOUT)

    def epoch(data, folds):
        state, losses, baselines = start(data, DROPOUT, folds=folds), {}, {}
        ids = jnp.asarray(folds)
        for step, batch, baseline in data.training_batches(4, 0, 0):
            key = jax.random.key(step)
            state, loss = train(state, batch, ids, key, np.float32(0.003))
            for j, position in enumerate(batch.folds):
                losses[folds[position], step] = float(loss[j])
                baselines[folds[position], step] = baseline[j]
        return host(state), losses, baselines

    together, losses, baselines = epoch(data, list(range(N_FOLDS)))
    solo, own_losses, own_baselines = epoch(alone, [fold])
    steps = [step for k, step in losses if k == fold]
    assert [step for _, step in own_losses] == steps != []
    first = (fold, steps[0])
    np.testing.assert_allclose(own_losses[first], losses[first], rtol=1e-6)
    for step in steps:
        assert own_baselines[fold, step] == pytest.approx(
            baselines[fold, step], rel=1e-12
        )
    for name in ("params", "average"):
        a = select(getattr(together, name), fold)
        b = select(getattr(solo, name), 0)
        assert max_difference(a, b) < 1e-4


def test_batches_are_the_training_parts(one):
    """Every image once an epoch for each fold that trains on it, and for no other."""
    dataset, data = one

    def epoch(seed, number):
        return [
            (step, images_of(data, batch), batch.folds)
            for step, batch, _ in data.training_batches(4, seed, number)
        ]

    total = np.zeros((N_FOLDS, len(dataset)))
    orders = []
    for number in (0, 1):
        batches = epoch(7, number)
        assert [step for step, _, _ in batches] == list(range(data.n_steps(4)))
        for _, images, folds in batches:
            total[np.ix_(folds, images)] += 1
        orders.append([i for _, images, _ in batches for i in images])
        assert sorted(orders[-1]) == sorted(set(range(13)) - {5})
    assert orders[0] != orders[1]
    for k, fold in enumerate(data.folds):
        assert np.flatnonzero(total[k]).tolist() == sorted(set(fold.train) - {5})
    assert set(np.unique(total)) == {0, 2}
    assert [i for _, images, _ in epoch(7, 0) for i in images] == orders[0]
    assert [i for _, images, _ in epoch(8, 0) for i in images] != orders[0]


def test_batch_type_is_a_tree():
    batch = Batch(*(np.zeros(1) for _ in range(6)), model_size=(1, 1))
    assert len(jax.tree.leaves(batch)) == 6


def test_registered_weights_are_the_random_ones(tiny_cache):
    """The fixture works: the library takes the random values for VGG-19."""
    np.testing.assert_array_equal(
        weights.load_features()["conv5_4"]["bias"], tiny_cache["conv5_4"]["bias"]
    )


def test_mixed_batches(one):
    """All images in each; every fold has weight for its own images alone."""
    _, data = one
    mixed = dataclasses.replace(data, mixed=True)
    scored = {int(i) for group in data.groups for i in group.images}
    (found,) = mixed.training_batches(100, 0, 0)
    _, batch, baseline = found
    images = images_of(mixed, batch)
    assert set(images) == scored and len(images) == len(scored)
    for k, fold in enumerate(data.folds):
        own = np.isin(images, fold.train)
        np.testing.assert_array_equal(batch.member_weights[k], np.float32(own))
        mean = data.baseline[k, np.array(images)[own]].mean()
        assert baseline[k] == pytest.approx(mean, rel=1e-6)
    # The loss of a fold is that of its images alone.
    state = start(data, PLAIN)
    train, _ = make_steps(SHALLOW, PLAIN)
    key, rate = jax.random.key(0), np.float32(0.1)
    _, together = train(state, batch, FOLD_IDS, key, rate)
    for k in range(N_FOLDS):
        own = batch.member_weights[k]
        alone = batch.replace(folds=np.array([k]), weights=own, member_weights=None)
        _, (loss,) = train(start(data, PLAIN), alone, FOLD_IDS, key, rate)
        assert float(loss) == pytest.approx(float(together[k]), rel=1e-6)
    # In smaller ones, a fold that has nothing there is left out.
    for _, batch, _ in mixed.training_batches(2, 0, 0):
        trained = batch.member_weights.any(axis=1)
        assert batch.folds.tolist() == np.flatnonzero(trained).tolist()
