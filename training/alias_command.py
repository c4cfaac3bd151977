"""`python -m training alias`: what aliases of a model mean and have meant; set, remove and roll them back."""

import argparse
import getpass
import logging

from rich.console import Console
from rich.table import Table

from bundle.store import Store
from jobs.errors import DatabaseError
from jobs.notify import announce_published
from training.watching.ledger import open_ledger

_log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("name", help="of the model")
    parser.add_argument("alias", nargs="?", help="such as production; left out, all are shown")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("version", nargs="?", type=int, help="that it is to mean; left out, its history is shown")
    what.add_argument("--rollback", action="store_true", help="let it mean what it meant before")
    what.add_argument("--remove", action="store_true", help="take it away")
    parser.add_argument("--reason", default="", help="kept in the history")
    parser.set_defaults(command=_alias, refuse=parser.error)


def _alias(options: argparse.Namespace) -> int:
    store = Store(options.store)
    if options.version is None and not options.rollback and not options.remove:
        _show(store, options.name, options.alias)
        return 0
    if options.alias is None:
        options.refuse("say which alias")
    with store.aliases_of(options.name).editing(_me()) as editor:
        if options.rollback:
            version, before = editor.roll_back(options.alias, options.reason)
        elif options.remove:
            version, before = None, editor.remove(options.alias, options.reason)
        else:
            version, before = options.version, editor.set(options.alias, options.version, options.reason)
    meaning = "removed" if version is None else f"version {version}"
    Console(soft_wrap=True).print(
        f"{options.name}@{options.alias}: {meaning} (before: {'none' if before is None else before})", highlight=False
    )
    _announce(options, version or before)
    return 0


def _announce(options: argparse.Namespace, version: int | None) -> None:
    try:
        ledger = open_ledger(options.database)
        if ledger is not None and version is not None:
            announce_published(ledger.database, options.name, version)
    except DatabaseError as error:
        _log.warning("services were not told and find it when they look at the store next: %s", error)


def _show(store: Store, name: str, alias: str | None) -> None:
    store.resolve(name)  # says which models there are
    aliases = store.aliases_of(name)
    for known, version in aliases.targets().items():
        if alias in (None, known):
            Console(soft_wrap=True).print(f"{name}@{known}: version {version}", highlight=False)
    table = Table("when (UTC)", "alias", "change", "before", "after", "by", "reason")
    for change in aliases.history(alias):
        versions = ["" if version is None else str(version) for version in (change.before, change.version)]
        action = change.action.replace("_", " ")
        table.add_row(f"{change.at:%Y-%m-%d %H:%M:%S}", change.alias, action, *versions, change.by, change.reason)
    if table.row_count:
        Console().print(table)


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "command line"
