"""The service as one process."""

from service.app import create_app
from service.catalog import Catalog
from service.processes.announcing import announce
from service.processes.listening import listen
from service.processes.server import Server
from service.settings import Settings


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StartupError: If the settings cannot be served.
    """
    with listen(settings) as listener:

        def opened(catalog: Catalog) -> None:
            announce(listener, sorted({model.name for model in catalog.models()}))

        Server(create_app(settings), settings, lambda: listener, opened).run_until_stopped()
