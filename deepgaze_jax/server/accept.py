"""Which form of answer a client asks for."""

from deepgaze_jax.server.answers import MEDIA_TYPES, Kind
from deepgaze_jax.server.problems import Problem

__all__ = ["wanted_kind"]


def wanted_kind(accept: str) -> Kind:
    """Return the form of answer that an Accept header prefers (RFC 9110, 12.5.1).

    Of types that it likes equally, the first of ours; JSON for `*/*`.

    Args:
        accept: the header.

    Raises:
        Problem: 406; it accepts none that there is.

    Example:
        >>> wanted_kind("image/*, application/json;q=0.5")
        'png'
    """
    ranges = [_parsed(one) for one in accept.split(",") if one.strip()]
    liked = {kind: _quality(kind, ranges) for kind in MEDIA_TYPES}
    best = max(liked, key=liked.__getitem__)
    if ranges and liked[best] <= 0:
        raise Problem(
            406,
            f"the client accepts {accept[:80]!r}; there are: {', '.join(MEDIA_TYPES)}",
        )
    return MEDIA_TYPES[best]


def _parsed(text: str) -> tuple[str, float]:
    """Return a media range and how much it is liked."""
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, min(1.0, max(0.0, float(value)))
            except ValueError:
                return media, 0.0
    return media, 1.0


def _quality(kind: str, ranges: list[tuple[str, float]]) -> float:
    """Return how much a media type is liked: the most specific range decides."""
    for wanted in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        for media, quality in ranges:
            if media == wanted:
                return quality
    return 0.0
