"""The one error of this package, and what it can be about."""

from typing import Literal

from bundle.errors import BundleError

UploadCode = Literal[
    "too_large",  # more bytes, images, pixels or entries than are taken
    "format",  # neither a zip nor an .npz
    "invalid",  # it is one, but cannot be used; the message says what to change
    "unknown",  # there is no such set
    "in_use",  # a live job needs the set
    "full",  # the quota, or the disk
    "slow",  # it took too long to arrive or to be read
    "left",  # whoever sent it is gone
    "damaged",  # what is kept here is not what was received
]


class UploadError(BundleError):
    """An upload that is refused, or a set that cannot be had.

    Attributes:
        code: What it is about.
        message: What came, what was expected, what to do.
        extra: Members for programs, such as the sizes that were found.
    """

    def __init__(self, code: UploadCode, message: str, **extra: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.extra = extra
