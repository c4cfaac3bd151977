"""The store of uploaded sets: quota, eviction, several writers, writers that die, disks that are full."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bundle.uploads.errors import UploadError
from bundle.uploads.limits import UploadLimits
from bundle.uploads.record import IMAGES, RECORD, Upload, read_upload
from bundle.uploads.store import UploadStore
from tests.bundle.uploads.files import leftovers, npz, pieces, refused, with_image

ROOT = Path(__file__).parents[3]


def content(seed: int, n: int = 100) -> bytes:
    """A set of n kB."""
    return npz(images=np.random.default_rng(seed).integers(0, 256, (n, 25, 40), dtype=np.uint8))


def send(store: UploadStore, seed: int, n: int = 100, age_s: float = 0) -> Upload:
    """A set that was used some time ago."""
    upload = store.receive([content(seed, n)])
    used = time.time() - age_s
    os.utime(store.root / upload.id, (used, used))
    return upload


def ids(store: UploadStore) -> set[str]:
    return {upload.id for upload in store.list()}


def test_an_empty_store_has_nothing_and_makes_nothing(tmp_path: Path) -> None:
    store = UploadStore(tmp_path / "none")
    assert store.list() == []
    with pytest.raises(UploadError, match="no uploaded set"):
        store.get("0" * 64)
    assert not store.root.exists()


def test_a_set_is_there_until_it_is_deleted(tmp_path: Path) -> None:
    store = UploadStore(tmp_path)
    first, second = send(store, 1), send(store, 2)
    assert [upload.id for upload in store.list()] == [second.id, first.id]
    assert store.get(first.id) == store.find(first.id) == first
    store.delete(first.id)
    assert ids(store) == {second.id}
    with pytest.raises(UploadError) as caught:
        store.delete(first.id)
    assert caught.value.code == "unknown"
    assert sorted(path.name for path in (tmp_path / second.id).iterdir()) == [IMAGES, RECORD]


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc", "0" * 63, "0" * 63 + "/", "A" * 64, ".incoming", "0" * 64 + "\n"]
)
def test_what_is_no_id_leads_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "keep").mkdir()
    store = UploadStore(tmp_path)
    for call in (store.find, store.get, store.delete):
        with pytest.raises(UploadError) as caught:
            call(name)
        assert caught.value.code == "unknown"
    assert (tmp_path / "keep").is_dir()


def test_the_least_recently_used_set_goes_first(tmp_path: Path) -> None:
    store = UploadStore(tmp_path, UploadLimits(quota_bytes=350_000, fresh_s=1))
    old, older, oldest = (send(store, seed, age_s=10 * seed) for seed in (1, 2, 3))
    store.get(oldest.id)  # as good as new now
    new = send(store, 4)
    assert ids(store) == {old.id, oldest.id, new.id}
    assert older.id not in ids(store)


def test_no_set_that_a_live_job_names_is_evicted_or_deleted(tmp_path: Path) -> None:
    used: set[str] = set()
    store = UploadStore(tmp_path, UploadLimits(quota_bytes=350_000, fresh_s=0), lambda: used)
    first, second, third = (send(store, seed, age_s=100 - seed) for seed in (1, 2, 3))
    used |= {first.id, second.id}
    fourth = send(store, 4, age_s=50)
    assert ids(store) == {first.id, second.id, fourth.id}
    with pytest.raises(UploadError) as caught:
        store.delete(first.id)
    assert caught.value.code == "in_use"
    used.add(fourth.id)
    with pytest.raises(UploadError) as caught:
        send(store, 5)
    assert caught.value.code == "full"
    assert ids(store) == {first.id, second.id, fourth.id}
    assert third.id not in ids(store)


def test_nothing_is_evicted_for_a_set_that_would_not_fit_anyway(tmp_path: Path) -> None:
    store = UploadStore(tmp_path, UploadLimits(quota_bytes=350_000, fresh_s=0))
    kept = {send(store, seed, age_s=10).id for seed in range(3)}
    with pytest.raises(UploadError, match="quota"):
        send(store, 9, n=400)
    assert ids(store) == kept


def test_there_are_never_more_sets_than_are_allowed(tmp_path: Path) -> None:
    store = UploadStore(tmp_path, UploadLimits(sets=3, fresh_s=0))
    sent = [send(store, seed, age_s=100 - seed).id for seed in range(5)]
    assert ids(store) == set(sent[2:])
    with pytest.raises(UploadError, match="3 sets"):
        send(UploadStore(tmp_path, store.limits, lambda: set(sent)), 9)
    assert ids(store) == set(sent[2:])


def test_nothing_is_evicted_for_an_upload_that_is_refused(tmp_path: Path) -> None:
    store = UploadStore(tmp_path, UploadLimits(quota_bytes=350_000, fresh_s=0))
    kept = {send(store, seed, age_s=10).id for seed in range(3)}
    with pytest.raises(UploadError):
        store.receive([content(9)[:-10]])
    assert ids(store) == kept


def test_a_set_that_was_just_received_or_asked_for_is_not_evicted(tmp_path: Path) -> None:
    """A job that is about to name it must find it."""
    store = UploadStore(tmp_path, UploadLimits(quota_bytes=250_000, fresh_s=60))
    asked, fresh = send(store, 1, age_s=1000), send(store, 2)
    store.get(asked.id)
    with pytest.raises(UploadError, match="younger"):
        send(store, 3)
    assert ids(store) == {asked.id, fresh.id}


def test_where_nobody_knows_what_is_in_use_nothing_is_evicted(tmp_path: Path) -> None:
    def unreachable() -> set[str]:
        raise ConnectionError("the database is away")

    store = UploadStore(tmp_path, UploadLimits(quota_bytes=250_000, fresh_s=0), unreachable)
    kept = {send(store, seed, age_s=10).id for seed in range(2)}
    with pytest.raises(ConnectionError):
        send(store, 3)
    assert ids(store) == kept
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_other_folders_beside_the_sets_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(b"x" * 400_000)
    store = UploadStore(tmp_path, UploadLimits(quota_bytes=150_000, fresh_s=0))
    send(store, 1, age_s=10)
    second = send(store, 2)
    assert ids(store) == {second.id}
    assert (tmp_path / "mine" / "file").exists()


def test_two_uploads_of_one_set_at_once_end_as_one(tmp_path: Path) -> None:
    together = threading.Barrier(6)

    def chunks() -> Iterator[bytes]:
        yield from pieces(content(1), 10_000)
        together.wait(20)

    with ThreadPoolExecutor(6) as pool:
        found = [pool.submit(UploadStore(tmp_path).receive, chunks()) for _ in range(6)]
        assert len({work.result().id for work in found}) == 1
    store = UploadStore(tmp_path)
    assert len(store.list()) == 1
    assert {work.result() for work in found} == set(store.list())
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_uploads_and_deletions_at_once_leave_whole_sets_only(tmp_path: Path) -> None:
    limits = UploadLimits(quota_bytes=350_000, fresh_s=0)
    bodies = [content(seed) for seed in range(4)]

    def churn(seed: int) -> None:
        store, rng = UploadStore(tmp_path, limits), np.random.default_rng(seed)
        for _ in range(15):
            upload = store.receive([bodies[int(rng.integers(4))]])
            if rng.random() < 0.5:
                with contextlib.suppress(UploadError):  # evicted or deleted by another
                    store.delete(upload.id)

    with ThreadPoolExecutor(4) as pool:
        for work in [pool.submit(churn, seed) for seed in range(4)]:
            work.result()
    store = UploadStore(tmp_path)
    for upload in store.list():
        read_upload(tmp_path, upload.id)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 350_000
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_a_body_with_too_many_bytes_is_refused_as_it_arrives(tmp_path: Path) -> None:
    seen = []

    def endless() -> Iterator[bytes]:
        while True:
            seen.append(1)
            yield b"\0" * 1000

    with pytest.raises(UploadError, match="10000 bytes") as caught:
        UploadStore(tmp_path, UploadLimits(body_bytes=10_000)).receive(endless())
    assert caught.value.code == "too_large"
    assert len(seen) == 11
    assert leftovers(tmp_path) == []


def test_a_sender_that_leaves_leaves_nothing_behind(tmp_path: Path) -> None:
    left = threading.Event()

    def chunks() -> Iterator[bytes]:
        for i, piece in enumerate(pieces(content(1))):
            if i == 5:
                left.set()
            yield piece

    with pytest.raises(UploadError) as caught:
        UploadStore(tmp_path).receive(chunks(), left=left)
    assert caught.value.code == "left"
    assert leftovers(tmp_path) == []


def test_what_a_killed_writer_left_is_swept_up_and_that_of_a_live_one_is_not(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom bundle.uploads.store import UploadStore\n"
        "def chunks():\n    yield b'PK' * 1000\n    print('ready', flush=True)\n    sys.stdin.read()\n"
        "UploadStore(Path(sys.argv[1])).receive(chunks())\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        store = UploadStore(tmp_path)
        store.sweep()
        assert len(list((tmp_path / ".incoming").iterdir())) == 1
    finally:
        writer.kill()
        writer.communicate()
    upload = send(store, 1)
    assert ids(store) == {upload.id}
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_a_disk_that_fills_up_in_the_middle_is_told_of_and_nothing_is_left(tmp_path: Path) -> None:
    """In a process of its own, for which files end at 60 kB: once in the body, once in the set made of it."""
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom bundle.uploads.errors import UploadError\n"
        "from bundle.uploads.store import UploadStore\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "try:\n    UploadStore(Path(sys.argv[1])).receive([sys.stdin.buffer.read()])\n"
        "except UploadError as error:\n    print(error.code)\n"
    )
    flat = npz(compressed=True, images=np.arange(100, dtype=np.uint8).repeat(1000).reshape(100, 25, 40))
    assert len(flat) < 10_000
    for body in (content(1), flat):
        answer = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], input=body, capture_output=True, cwd=ROOT, check=False
        )
        assert (answer.stdout.strip(), answer.stderr) == (b"full", b"")
        assert leftovers(tmp_path) == []


@pytest.mark.parametrize("call", ["fsync", "mkdir"])
def test_no_space_at_any_step_is_told_of(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    body = content(1)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(UploadError) as caught:
        UploadStore(tmp_path).receive([body])
    assert caught.value.code == "full"
    monkeypatch.undo()
    assert leftovers(tmp_path) == []


class Disk:
    """Free space that shrinks by what the store holds."""

    def __init__(self, root: Path, free: int) -> None:
        self.root, self.free = root, free

    def usage(self, _: Path) -> SimpleNamespace:
        used = sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())
        return SimpleNamespace(free=self.free - used)


def long(seen: list[int]) -> Iterator[bytes]:
    """200 MB."""
    for i in range(200):
        seen.append(i)
        yield bytes(1_000_000)


def test_an_upload_that_eats_the_reserve_is_refused_while_it_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", Disk(tmp_path, 50_000_000).usage)
    store, seen = UploadStore(tmp_path, UploadLimits(reserve_bytes=30_000_000)), list[int]()
    with pytest.raises(UploadError, match="stay free") as caught:
        store.receive(long(seen))
    assert caught.value.code == "full"
    assert len(seen) < 30
    assert leftovers(tmp_path) == []


def test_an_upload_whose_declared_length_has_no_room_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", Disk(tmp_path, 50_000_000).usage)
    for limits in (UploadLimits(reserve_bytes=30_000_000), UploadLimits(reserve_bytes=0, quota_bytes=10_000_000)):
        seen: list[int] = []
        with pytest.raises(UploadError) as caught:
            UploadStore(tmp_path, limits).receive(long(seen), declared=25_000_000)
        assert (caught.value.code, seen) == ("full", [])
    assert leftovers(tmp_path) == []


def test_what_is_on_its_way_counts_towards_the_quota(tmp_path: Path) -> None:
    store, seen = UploadStore(tmp_path, UploadLimits(quota_bytes=20_000_000)), list[int]()
    with pytest.raises(UploadError, match="quota") as caught:
        store.receive(long(seen))
    assert caught.value.code == "full"
    assert len(seen) < 30
    body = iter(long([]))

    def other() -> Iterator[bytes]:
        for _ in range(16):
            yield next(body)
        with pytest.raises(UploadError, match="quota"):
            store.receive([b"PK"], declared=5_000_000)

    with pytest.raises(UploadError) as caught:
        store.receive(other())
    assert caught.value.code == "format"
    assert leftovers(tmp_path) == []


def test_the_disk_keeps_a_reserve_for_others(tmp_path: Path) -> None:
    error = refused(tmp_path, content(1), UploadLimits(reserve_bytes=1 << 60))
    assert (error.code, "stay free" in error.message) == ("full", True)


def test_a_set_that_was_changed_on_the_disk_is_not_read(tmp_path: Path) -> None:
    store = UploadStore(tmp_path)
    upload = send(store, 1)
    path = tmp_path / upload.id / IMAGES
    path.write_bytes(npz(images=np.zeros((100, 25, 40), np.uint8)))
    with pytest.raises(UploadError, match="not what was received"):
        read_upload(tmp_path, upload.id)
    path.write_bytes(b"")
    with pytest.raises(UploadError, match="cannot be read"):
        read_upload(tmp_path, upload.id)


def test_a_set_whose_record_is_damaged_is_replaced_by_its_next_upload(tmp_path: Path) -> None:
    store = UploadStore(tmp_path)
    upload = send(store, 1)
    (tmp_path / upload.id / RECORD).write_text("{")
    assert store.list() == []
    with pytest.raises(UploadError) as caught:
        store.get(upload.id)
    assert caught.value.code == "damaged"
    assert send(store, 1).id == upload.id
    assert read_upload(tmp_path, upload.id)[0].id == upload.id


@pytest.mark.parametrize("way", ["delete", "evict"])
def test_a_set_with_a_damaged_record_can_be_deleted_and_evicted(tmp_path: Path, way: str) -> None:
    store = UploadStore(tmp_path, UploadLimits(quota_bytes=150_000, fresh_s=0))
    upload = send(store, 1)
    (tmp_path / upload.id / RECORD).write_text("{")
    os.utime(tmp_path / upload.id, (0, 0))
    if way == "delete":
        store.delete(upload.id)
    else:
        send(store, 2)
    assert not (tmp_path / upload.id).exists()


def test_nothing_is_unpacked_to_the_disk_but_pixels(tmp_path: Path) -> None:
    upload = UploadStore(tmp_path).receive([with_image("x.png")])
    with np.load(tmp_path / upload.id / IMAGES) as archive:
        assert archive.files == ["images"]
    assert sorted(path.name for path in (tmp_path / upload.id).iterdir()) == [IMAGES, RECORD]
