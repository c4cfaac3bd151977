"""Where a request's time in the engine went."""

from dataclasses import dataclass


@dataclass(slots=True)
class Timings:
    """Seconds of one request; the engine adds to them, since a request may run several graphs.

    Attributes:
        queue_s: From arrival until a lane took its first rows.
        batch_s: Between that and its answer, as far as the graph did not run: gathering and handing out.
        compute_s: The runs of all batches that held its rows.
    """

    queue_s: float = 0.0
    batch_s: float = 0.0
    compute_s: float = 0.0
