"""Builders in the folder convention of TFDS, one folder for each data set.

Each holds `NAME_dataset_builder.py` with a class `Builder`, what TFDS shows of the data
set, and the checksums of what it downloads: nothing, since all of these want a licence
to be read first. `deepgaze data build NAME` and `tfds build` both run them.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["BUILDERS"]

#: What can be built: name of the folder, and what it is.
BUILDERS: Mapping[str, str] = MappingProxyType(
    {
        "cat2000": "CAT2000: 20 categories of images",
        "figrim": "FIGRIM: a memory task on scenes",
        "fixations_folder": "any folder with images/ and fixations.csv",
        "mit1003": "MIT1003: free viewing of 1003 photographs",
        "osie": "OSIE: free viewing of 700 photographs",
        "salicon": "SALICON in its editions: COCO images, mouse-contingent",
    }
)
