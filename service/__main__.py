"""`python -m service`: serve until SIGTERM or SIGINT, and end with 0; `python -m service tune MODEL`: measure and set.

Settings or devices that cannot be end it with 2 and one line that says why.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from pydantic import ValidationError

from service.engine.plan import worker_count
from service.errors import StartupError
from service.logs import configure_logs
from service.settings import Settings, why_invalid

_CANNOT_START = 2
_ABOUT = "Draws images with deep generative models, over REST."
_SETTINGS = """\
Settings are environment variables GENSERVE_*, or names in a TOML file that GENSERVE_SETTINGS names; docs/settings.md
lists them. The first SIGTERM or SIGINT finishes what is under way and ends with 0; the second ends at once.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code.

    Args:
        arguments: Instead of the command line's.
    """
    given = sys.argv[1:] if arguments is None else [*arguments]
    if given[:1] == ["tune"]:  # it reads its own arguments
        return int(importlib.import_module("service.tuning").main(given[1:]))
    _parser().parse_args(given)
    try:
        settings = Settings()
    except (ValidationError, OSError, ValueError) as error:  # ValueError: the file is no TOML
        return _complain(f"settings: {why_invalid(error)}")
    configure_logs(settings)
    try:
        _serve(settings)
    except StartupError as error:
        return _complain(str(error))
    return 0


def _serve(settings: Settings) -> None:
    settings = settings.model_copy(update={"workers": worker_count(settings)})
    if settings.workers == 1:
        for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
            os.environ.pop(name, None)  # somebody else's: one process counts in its own memory
        from service.processes import single  # a parent of workers has no use for the engine

        single.serve(settings)
    else:
        from service.processes import parent

        parent.serve(settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage="python -m service [-h] [serve | tune MODEL]",
        description=_ABOUT,
        epilog=_SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser("serve", help="serve the bundles of the store; what is done if no command is given")
    commands.add_parser("tune", help="measure a model on this machine and write the settings that fit", add_help=False)
    return parser


def _complain(message: str) -> int:
    print(f"genserve: {message}", file=sys.stderr, flush=True)
    return _CANNOT_START


if __name__ == "__main__":
    sys.exit(main())
