"""A process of its own that loads and unloads a version again and again, and prints what it weighs after each round.

python -m tests.service.swap_rounds STORE ROUNDS: the store holds versions 1 and 2 of "tiny".
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import psutil

from service.catalog import Catalog
from service.settings import Settings


async def main(store: Path, rounds: int) -> list[dict[str, int]]:
    """One entry for each round."""
    catalog = await Catalog.open(Settings(store=store, lanes=2, device="cpu", store_poll_s=0))
    found = [await _round(catalog, store) for _ in range(rounds)]
    await catalog.close(5)
    return found


async def _round(catalog: Catalog, store: Path) -> dict[str, int]:
    second, aside = store / "tiny" / "2", store.with_name("aside")
    assert await _requests(catalog) == {2}
    loaded = psutil.Process().memory_info().rss
    second.rename(aside)
    requests = asyncio.create_task(_requests(catalog))
    await asyncio.sleep(0)
    await catalog.refresh()
    assert await requests == {2}
    assert await _requests(catalog) == {1}
    while len(catalog._leases._open) > 1 or catalog._leases._closing:
        await asyncio.sleep(0.001)
    process = psutil.Process()
    unloaded = process.memory_info().rss
    aside.rename(second)
    await catalog.refresh()
    return {"loaded": loaded, "unloaded": unloaded, "threads": process.num_threads(), "files": process.num_fds()}


async def _requests(catalog: Catalog) -> set[int]:
    """The versions that answered."""
    return {*await asyncio.gather(*(_request(catalog, n) for n in (1, 3, 40)))}


async def _request(catalog: Catalog, n: int) -> int:
    model = catalog.get("tiny")
    await model.run("decode", {"z": np.ones((n, 16), np.float32)}, ["pixels"])
    return model.version


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))))
