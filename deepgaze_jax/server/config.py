"""What a service allows: limits and who may ask."""

from dataclasses import dataclass

from deepgaze_jax.errors import ConfigError
from deepgaze_jax.images import MAX_PIXELS

__all__ = ["ServeConfig"]


@dataclass(frozen=True)
class ServeConfig:
    """Limits of a service.

    Attributes:
        max_upload_bytes: of one request's body.
        max_pixels: of one picture, as it is sent and as the model would see it.
        max_queue: requests that may wait while others are computed; the next one is
            turned away.
        timeout_s: how long a request may take, waiting and upload included.
        concurrency: pictures that are computed at the same time.
        api_keys: one of them has to be given; no key is needed if there is none.
        cors_origins: web pages of other origins that may ask, such as
            `https://lab.example`; `*` for all.

    Raises:
        ConfigError: a limit that lets nothing through, or an origin that is none.

    Example:
        >>> ServeConfig(max_queue=0).max_admitted
        1
    """

    max_upload_bytes: int = 20_000_000
    max_pixels: int = 16_000_000
    max_queue: int = 32
    timeout_s: float = 60.0
    concurrency: int = 1
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()

    def __post_init__(self):
        for name, least in (
            ("max_upload_bytes", 1),
            ("max_pixels", 1),
            ("max_queue", 0),
            ("concurrency", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; expected {least} or more"
                )
        # Written so that NaN fails too.
        if not 0 < self.timeout_s < float("inf"):
            raise ConfigError(
                f"timeout_s is {self.timeout_s}; expected a number above 0"
            )
        if self.max_pixels > MAX_PIXELS:
            raise ConfigError(
                f"max_pixels is {self.max_pixels}; at most {MAX_PIXELS} are decoded"
            )
        for key in self.api_keys:
            if not (key.isascii() and key.isprintable() and key.strip() == key != ""):
                raise ConfigError(
                    "an API key is empty or has characters that a header cannot have; "
                    "expected printable ASCII, without spaces at its ends"
                )
        for origin in self.cors_origins:
            scheme, _, rest = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or "/" in rest):
                raise ConfigError(
                    f"the origin {origin!r} is none; expected the like of "
                    "https://lab.example or http://localhost:8000, without a path"
                )

    @property
    def max_admitted(self) -> int:
        """Requests that are computed or wait, at most."""
        return self.concurrency + self.max_queue
