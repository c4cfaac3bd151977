"""Which versions of a model stay loaded."""

from collections.abc import Callable, Collection, Mapping


def kept_versions(
    versions: Collection[int], aliased: Collection[int], loaded: Collection[int], refused: Collection[int], keep: int
) -> set[int]:
    """The newest `keep` versions that can serve, and those with an alias.

    Versions that were refused do not count. If of all those in the store none can serve, the newest that is loaded
    stays, even though its folder is gone: whoever replaced a version by a damaged one does not end its service.

    Args:
        versions: In the store.
        aliased: Versions that aliases stand for.
        loaded: Versions that serve.
        refused: Versions whose folder, as it is now, cannot serve. One may be loaded all the same, from the bundle that
            was in that folder before.
        keep: How many.
    """
    able = [version for version in sorted(versions, reverse=True) if version in loaded or version not in refused]
    kept = {*able[:keep], *(version for version in aliased if version in able)}
    if versions and loaded and not kept:
        return {max(loaded)}
    return kept


def effective_aliases(
    wanted: Mapping[str, int], before: Mapping[str, int], serves: Callable[[int], bool]
) -> dict[str, int]:
    """What aliases stand for: what the store says as soon as that serves, and until then what they stood for."""
    return {
        alias: before[alias] if not serves(version) and serves(before.get(alias, 0)) else version
        for alias, version in wanted.items()
    }
