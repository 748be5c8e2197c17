"""Eye-tracking files in the layouts of their authors, made up."""

import io
import zipfile

import h5py
import numpy as np
import scipy.io
from PIL import Image


def picture(width, height, kind="PNG", seed=0):
    """The bytes of a picture of noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def gaze(seed, n=720, size=(681, 1024), n_saccades=8):
    """Raw gaze [n, 2]: still for a while, quick jumps, noise, perhaps a blink."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.choice(np.arange(30, n - 20), n_saccades, replace=False))
    places = rng.uniform((40, 40), (size[1] - 40, size[0] - 40), (n_saccades + 1, 2))
    places[0] = size[1] / 2, size[0] / 2
    path = np.empty((n, 2))
    at = 0
    for place, start in zip(places, [*times, n], strict=True):
        path[at:start] = place
        at = start
    # A saccade takes some samples.
    for start, before, after in zip(times, places[:-1], places[1:], strict=True):
        for k in range(6):
            if start + k < n:
                path[start + k] = before + (after - before) * (k + 1) / 6
    path += rng.normal(0, 0.3, path.shape)
    if seed % 3 == 0:
        start = int(rng.integers(200, 600))
        path[start : start + 25] = -32768
    return path


def mat_bytes(variables):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables)
    return buffer.getvalue()


def write_mit1003(folder, stems, subjects, zipped=True):
    """ALLSTIMULI and DATA, zipped or not; returns {(subject, stem): gaze}."""
    members = {}
    trials = {}
    for i, stem in enumerate(stems):
        members["ALLSTIMULI.zip", f"ALLSTIMULI/{stem}.jpeg"] = picture(
            1024, 681, "JPEG", i
        )
        for j, subject in enumerate(subjects):
            trials[subject, stem] = gaze(10 * i + j)
            data = np.zeros((1, 2), [("eyeData", "O"), ("trial", "O")])
            data[0, 0] = trials[subject, stem], float(i + 1)
            data[0, 1] = np.zeros((0, 2)), 0.0
            struct = {"imgName": f"{stem}.jpeg", "DATA": data}
            members["DATA.zip", f"DATA/{subject}/{stem}.mat"] = mat_bytes(
                {stem[:63]: struct}
            )
    for (archive, name), data in members.items():
        if zipped:
            with zipfile.ZipFile(folder / archive, "a") as file:
                file.writestr(name, data)
                file.writestr(f"__MACOSX/{name}", b"litter")
        else:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return trials


def write_salicon(folder, split, names, seed=0):
    """`.mat` files of one part; returns {name: [(location, fixations), ...]}."""
    rng = np.random.default_rng(seed)
    (folder / split).mkdir(parents=True)
    written = {}
    for name in names:
        people = []
        for k in range(3):
            n, m = int(rng.integers(5, 20)), int(rng.integers(0, 4))
            location = rng.integers((1, 1), (641, 481), (n, 2))
            if k == 0:
                location[0] = 645, 200  # Out of the frame, as it happens.
            fixations = rng.integers((1, 1), (641, 481), (m, 2)).astype(np.uint16)
            people.append((location, fixations))
        record = np.zeros(
            (len(people), 1),
            [("location", "O"), ("timestamp", "O"), ("fixations", "O")],
        )
        for k, (location, fixations) in enumerate(people):
            times = np.arange(len(location))[:, None] * 10.0
            record[k, 0] = (location.astype(float), times, fixations)
        scipy.io.savemat(
            folder / split / f"{name}.mat",
            {"gaze": record, "resolution": [480, 640], "image": name},
        )
        written[name] = people
    return written


def padded(rows):
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


def write_pysaliency(folder, kind, file_stimuli=True, old=False):
    """Both files of two images and three scanpaths; returns the scanpaths."""
    scanpaths = [  # image, subject, xs, ys, durations in seconds
        (0, 1, [1.5, 2.5, 3.5], [4.0, 5.0, 6.0], [0.2, 0.3, 0.1]),
        (0, 0, [9.0], [8.0], [0.4]),
        (1, 1, [7.0, 6.0], [5.0, 4.0], [0.25, 0.35]),
    ]
    with h5py.File(folder / "stimuli.hdf5", "w") as file:
        if file_stimuli:
            file.attrs["type"] = np.bytes_("FileStimuli")
            file.attrs["version"] = np.bytes_("2.1")
            names = ["stimuli/a.png", "stimuli/b.png"]
            text = h5py.special_dtype(vlen=str)
            file.create_dataset("filenames", data=np.array(names, object), dtype=text)
            shapes = file.create_dataset(
                "shapes", (2,), h5py.special_dtype(vlen=np.dtype("int64"))
            )
            (folder / "stimuli").mkdir()
            for i, size in enumerate(((20, 10), (12, 16))):
                shapes[i] = np.array([size[1], size[0], 3])
                path = folder / names[i]
                path.write_bytes(picture(*size, seed=i))
        else:
            file.attrs["type"] = np.bytes_("Stimuli")
            file.attrs["version"] = np.bytes_("1.1")
            for i, (width, height) in enumerate(((20, 10), (12, 16))):
                file[str(i)] = np.full((height, width, 3), 40 * i, np.uint8)
        file.attrs["size"] = 2
    images = np.array([s[0] for s in scanpaths])
    subjects = np.array([s[1] for s in scanpaths])
    lengths = np.array([len(s[2]) for s in scanpaths])
    xs, ys, durations = (padded([s[k] for s in scanpaths]) for k in (2, 3, 4))
    ts = padded([np.arange(n) * 0.5 for n in lengths])
    with h5py.File(folder / "fixations.hdf5", "w") as file:
        file.attrs["type"] = np.bytes_(kind)
        if kind == "FixationTrains":
            for name, values in (
                ("train_xs", xs),
                ("train_ys", ys),
                ("train_ts", ts),
                ("train_ns", images),
                ("train_subjects", subjects),
            ):
                file[name] = values
            if not old:
                file["train_lengths"] = lengths
            file["scanpath_fixation_attributes/durations"] = durations
        elif kind == "ScanpathFixations":
            group = file.create_group("scanpaths")
            group.attrs["type"] = np.bytes_("Scanpaths")
            group["xs"], group["ys"], group["n"] = xs, ys, images
            group["lengths" if old else "length"] = lengths
            group["scanpath_attributes/subject"] = subjects
            group["fixation_attributes/ts"] = ts
            group["fixation_attributes/durations"] = durations
        else:
            used = ~np.isnan(xs)
            file["x"], file["y"], file["t"] = xs[used], ys[used], ts[used]
            file["n"] = np.repeat(images, lengths)
            file["subjects" if old else "subject"] = np.repeat(subjects, lengths)
            history = np.concatenate([np.arange(n) for n in lengths])
            if old:
                table = np.full((len(history), 3), np.nan)
                for i, n in enumerate(history):
                    table[i, :n] = 1.0
                file["x_hist"] = table
            else:
                file["scanpath_history_length"] = history
            file["duration"] = durations[used]
    return scanpaths


ASC = """** CONVERTED FROM a.edf
MSG 100 DISPLAY_COORDS 0 0 1023 767
MSG 200 TRIALID 1
{image}
START 1000 LEFT RIGHT SAMPLES EVENTS
MSG 1060 -10 image_on
SFIX R 1001
EFIX R 1001 1049 50 512.0 384.0 900
EFIX L 1001 1049 50 510.0 380.0 900
EFIX R 1060 1259 200 {x} {y} 900
EFIX R 1270 1469 200 . 300.0 900
END 1500 SAMPLES EVENTS RES 35.00 37.00
MSG 1600 TRIAL_RESULT 0
"""
