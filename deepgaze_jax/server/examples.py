"""Photographs to try, of those that installed packages carry."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Example", "installed_examples"]


@dataclass(frozen=True)
class Example:
    """A photograph.

    Attributes:
        name: in addresses.
        title: for people.
        credit: whom to name.
        package: that carries it.
        file: below the package's folder.
    """

    name: str
    title: str
    credit: str
    package: str
    file: str

    @property
    def path(self) -> Path | None:
        """The file, None where the package is not installed or does not have it."""
        # Found without importing the package.
        package = importlib.util.find_spec(self.package)
        for folder in (package and package.submodule_search_locations) or ():
            path = Path(folder, self.file)
            if path.is_file():
                return path
        return None


_EXAMPLES = (
    Example(
        "hopper.jpg",
        "Grace Hopper",
        "United States Navy, public domain",
        "matplotlib",
        "mpl-data/sample_data/grace_hopper.jpg",
    ),
    Example(
        "astronaut.png",
        "Eileen Collins",
        "NASA, public domain",
        "skimage",
        "data/astronaut.png",
    ),
    Example(
        "coffee.png",
        "A cup of coffee",
        "Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0",
        "skimage",
        "data/coffee.png",
    ),
    Example(
        "chelsea.png",
        "Chelsea the cat",
        "Stefan van der Walt, CC0",
        "skimage",
        "data/chelsea.png",
    ),
    Example(
        "pavilion.jpg",
        "A Chinese pavilion",
        "danielbuechele, CC BY 2.0",
        "sklearn",
        "datasets/images/china.jpg",
    ),
    Example(
        "flower.jpg",
        "A flower",
        "vultilion, CC BY 2.0",
        "sklearn",
        "datasets/images/flower.jpg",
    ),
)


def installed_examples() -> dict[str, Example]:
    """Return the photographs that there are, by name.

    Example:
        >>> "hopper.jpg" in installed_examples()
        True
    """
    return {one.name: one for one in _EXAMPLES if one.path}
