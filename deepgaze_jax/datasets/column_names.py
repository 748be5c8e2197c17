"""What columns of other people's tables are called, and the units that they name."""

import re
from collections.abc import Mapping, Sequence

from deepgaze_jax.datasets.wording import some
from deepgaze_jax.errors import DataError, InputError

__all__ = ["COLUMNS", "find_columns", "unused"]

# In the order of preference.
_ALIASES = {
    "image": "image image_name img img_name stimulus stimulus_name stimulus_id picture "
    "picture_name filename file_name file image_file image_id trial_image "
    "presented_stimulus_name media_name",
    "subject": "subject participant observer user subject_id participant_id "
    "observer_id subject_name participant_name subject_index recording_session_label "
    "viewer",
    "fixation_index": "fixation_index current_fix_index fix_index fixation_number "
    "fixation_id index order",
    "x": "x fixation_position_x_px fix_x current_fix_x x_px fixation_x gaze_x pos_x "
    "fixation_position_x position_x fixation_point_x gaze_point_x x_norm norm_pos_x "
    "fpogx avg_x",
    "y": "y fixation_position_y_px fix_y current_fix_y y_px fixation_y gaze_y pos_y "
    "fixation_position_y position_y fixation_point_y gaze_point_y y_norm norm_pos_y "
    "fpogy avg_y",
    "duration_ms": "duration_ms duration fix_duration current_fix_duration "
    "fixation_duration gaze_event_duration dur fpogd",
    "start_ms": "start_ms start event_start_trial_time_ms current_fix_start t time "
    "onset timestamp fpogs",
}
#: What a table can say of a fixation.
COLUMNS = tuple(_ALIASES)

# Units in brackets behind a name. Of others (ns, mm) a column is not taken unasked.
_UNITS = {
    "px": "px pix pixel pixels",
    "normalised": "norm normalised normalized rel relative 0-1 0..1",
    "dva": "deg degree degrees dva ° °va",
    "ms": "ms msec millisecond milliseconds",
    "s": "s sec second seconds",
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_IN_BRACKETS = re.compile(r"(.*\S)\s*[(\[]([^()\[\]]*)[)\]]\s*")


def find_columns(
    where: str, columns: Sequence[str], chosen: Mapping[str, str], units: str
) -> dict[str, str]:
    """Returns the column of a table for each of `COLUMNS` that it has.

    Small letters, capitals, spaces and signs do not count, nor a unit in brackets:
    `Gaze X (px)` and `GAZE_X` are both `gaze_x`.

    Args:
        where: how messages call the table.
        columns: as the table writes them.
        chosen: {ours: theirs} of the user, for other names.
        units: of x and y as the user states them; columns in brackets of another unit
            are passed over.

    Raises:
        DataError: a chosen column is not there.
        InputError: the only x or y there is has another unit.

    Example:
        >>> find_columns("a.csv", ["Stimulus", "Gaze X (px)", "Gaze Y (px)"], {}, "px")
        {'image': 'Stimulus', 'x': 'Gaze X (px)', 'y': 'Gaze Y (px)'}
    """
    found = {}
    for ours, aliases in _ALIASES.items():
        if ours in chosen:
            if chosen[ours] not in columns:
                raise DataError(
                    f"{where}: has no column {chosen[ours]!r}; name one of these, "
                    f"--columns {ours}=...: {', '.join(columns)}"
                )
            found[ours] = chosen[ours]
            continue
        named: dict[str, str] = {}
        of_other_unit = []
        for column in columns:
            name, unit = _name_and_unit(column)
            if ours in ("x", "y") and unit not in ("", units):
                of_other_unit += [(column, unit)] if name in aliases.split() else []
                continue
            named.setdefault(_plain(column), column)
            named.setdefault(name, column)
        fitting = [named[alias] for alias in aliases.split() if alias in named]
        if fitting:
            found[ours] = fitting[0]
        elif of_other_unit:
            column, unit = of_other_unit[0]
            raise InputError(
                f"{where}: {column!r} is in {unit}, not in {units}; state --units "
                f"{unit}, or name another column: --columns {ours}=..."
            )
    return found


def unused(columns: Sequence[str], found: Mapping[str, str]) -> str:
    """Returns a line about columns that are not read; empty if all are."""
    left = [name for name in columns if name and name not in found.values()]
    return f"columns that are not read: {some(left)}" if left else ""


def _name_and_unit(column: str) -> tuple[str, str]:
    """Returns a name without its unit in brackets, and the unit; empty if none."""
    match = _IN_BRACKETS.fullmatch(column)
    words = match[2].lower().split() if match else []
    if not words or words[-1] not in _UNIT_OF:
        return _plain(column), ""
    return _plain(match[1]), _UNIT_OF[words[-1]]


def _plain(column: str) -> str:
    return re.sub(r"\W+", "_", column.lower()).strip("_")
