"""Event files for TensorBoard: scalars and picture grids. Needs tensorboard's record format, never TensorFlow.

A run that was stopped goes on in a new file, which begins with a session start at its first step: TensorBoard then
drops what older files hold from that step on ("purge step"), so no step is shown twice or out of order.
"""

import io
import json
import re
import time
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

from bundle.store import Bundle
from training.watching.sink import About, Ending, Picture, Snapshot

FOLDER = "tensorboard"
_FILE_VERSION = "brain.Event:2"  # the first in which a session start drops later steps
_NAME = re.compile(r"events\.out\.tfevents\.(\d+)\.(\d+)$")


class TensorBoard:
    """Writes the event file of one session of a run into `<run>/tensorboard/`."""

    def __init__(self, about: About) -> None:
        folder = about.folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _next_path(folder).open("xb")
        self._records = RecordWriter(self._file)
        self._step = about.step
        self._write(Event(file_version=_FILE_VERSION))
        self._write(Event(step=about.step + 1, session_log=SessionLog(status=SessionLog.START)))
        if about.step == 0:
            self._summary(0, [_text("recipe", f"```json\n{json.dumps(about.recipe, indent=1)}\n```")])

    def progress(self, snapshot: Snapshot) -> None:
        """Scalars by player (`generator/loss`) and by what the run costs (`run/images_per_second`)."""
        self._step = snapshot.step
        scalars = {name.replace(".", "/", 1): value for name, value in snapshot.losses.items()}
        scalars |= {"run/images_per_second": snapshot.images_per_second, "run/epoch": snapshot.epoch}
        self._summary(snapshot.step, [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()])

    def picture(self, picture: Picture) -> None:
        """The grid as it is: a PNG."""
        width, height = Image.open(io.BytesIO(picture.png)).size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=picture.png)
        self._summary(picture.step, [Summary.Value(tag="samples", image=image)])

    def publishing(self) -> None:
        """Nothing to write."""

    def published(self, bundle: Bundle) -> None:
        """The figures of the manifest, at the last step."""
        metrics = bundle.manifest.metrics
        self._summary(self._step, [Summary.Value(tag=f"metrics/{m.name}", simple_value=m.value) for m in metrics])

    def close(self, ending: Ending) -> None:  # noqa: ARG002 (how it ended is no scalar)
        """Close the file."""
        self._file.close()

    def _summary(self, step: int, values: list[Any]) -> None:
        if values:
            self._write(Event(step=step, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        self._file.flush()


def _next_path(folder: Path) -> Path:
    """A name after all others: TensorBoard reads the files of a run in the order of their names."""
    found = [match for path in folder.iterdir() if (match := _NAME.search(path.name))]
    latest = max((int(match[1]) for match in found), default=0)
    number = max((int(match[2]) for match in found), default=-1) + 1
    return folder / f"events.out.tfevents.{max(latest, int(time.time())):010d}.{number:06d}"


def _text(tag: str, text: str) -> Any:
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    return Summary.Value(
        tag=tag, metadata=metadata, tensor=TensorProto(dtype=DT_STRING, string_val=[text.encode("utf-8")])
    )
