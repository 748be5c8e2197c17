"""Where the numbers about the speed of predictions come from."""

from published import EXPERIMENTS, README, stored

__all__ = ["SPEED_SENTENCES", "SPEED_TABLES"]


def _size(row):
    return f"{row['height']}x{row['width']}"


def turns():
    rows = {}
    for row in stored("predict_speed.json")["turns"]:
        ratios = row["times_as_fast"]
        enlarged = ratios.get("torch_enlarged_first")
        rows[f"{_size(row)}, {row['batch']} at once"] = [
            [row["seconds"]["ours"]],
            [ratios["torch"]],
            [] if enlarged is None else [enlarged],
        ]
    return rows


def memory():
    return {
        _size(row): [[row["peak_mb"]["ours"]], [row["peak_mb"]["torch"]]]
        for row in stored("predict_speed.json")["memory"]
    }


def area():
    return {
        str(row["megapixels"]): [[row["seconds"]], [row["seconds_per_megapixel"]]]
        for row in stored("predict_speed.json")["area"]
    }


def layers():
    return {
        f"`{row['layer']}`": [
            row["grid"],
            row["channels"],
            [row["milliseconds_in_bands"]],
            [row["milliseconds_plain"]],
        ]
        for row in stored("vgg_speed.json")["layers"]
    }


def errors():
    found = stored("vgg_speed.json")["errors"]
    ways = ("winograd", "plain", "torch")
    return {
        f"`{tap}`": [[1e6 * found[way][tap]] for way in ways]
        for tap in found["winograd"]
    }


SPEED_TABLES = {
    (
        EXPERIMENTS,
        "| picture | ours, s | PyTorch, times as long | "
        "features enlarged, times as long |",
    ): turns,
    (EXPERIMENTS, "| picture | ours, MB | PyTorch, MB |"): memory,
    (EXPERIMENTS, "| megapixels | seconds | seconds per megapixel |"): area,
    (
        EXPERIMENTS,
        "| layer | grid | channels | in bands, ms | plain, ms |",
    ): layers,
    (
        EXPERIMENTS,
        "| tap | in bands, 1e-6 | plain, 1e-6 | PyTorch, 1e-6 |",
    ): errors,
}


def megapixel():
    (row,) = (
        row
        for row in stored("predict_speed.json")["turns"]
        if (_size(row), row["batch"]) == ("768x1024", 1)
    )
    return row


def wider_readout():
    """How much longer a megapixel takes the default readout, percent."""
    (row,) = (row for row in stored("readout_speed.json") if _size(row) == "768x1024")
    return 100 * (row["ratio"] - 1)


SPEED_SENTENCES = [
    (
        EXPERIMENTS,
        r"wider, takes ([\d.]+) % longer for 768x1024 pixels",
        lambda: [wider_readout()],
    ),
    (
        README,
        r"768x1024 takes DeepGaze II ([\d.]+) s, ([\d.]+) times less than the same "
        r"network in PyTorch \(with the paper's readout, the default's takes (\d+) %",
        lambda: [
            megapixel()["seconds"]["ours"],
            megapixel()["times_as_fast"]["torch"],
            wider_readout(),
        ],
    ),
    (
        EXPERIMENTS,
        r"same readout \(\*\*missed\*\*, ([\d.]+)\)\. The multiply-adds of VGG-19 "
        r"alone would take ([\d.]+) s",
        lambda: [
            megapixel()["times_as_fast"]["torch"],
            stored("predict_speed.json")["floor"]["seconds"],
        ],
    ),
    (
        EXPERIMENTS,
        r"from its start to both files, takes ([\d.]+) s with",
        lambda: [stored("predict_speed.json")["cold"]["seconds"]],
    ),
]
