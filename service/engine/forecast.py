"""What an image costs on this device, learnt from the batches that ran."""

_MEMORY = 0.9  # weight of the past at each batch: about the last ten count


class Forecast:
    """Seconds per image, as a ratio of two decaying sums, so that large batches weigh what they are."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._images = 0.0

    def learn(self, images: int, seconds: float) -> None:
        """A batch of `images` took `seconds`."""
        self._seconds = _MEMORY * self._seconds + seconds
        self._images = _MEMORY * self._images + images

    def seconds(self, images: int) -> float:
        """Expected lane time of so many images; 0 as long as nothing has run."""
        return images * self._seconds / self._images if self._images else 0.0
