"""SIGHUP: read the configuration again and take over what may change, all of it or none.

Everything new is built before anything running is touched, so a mistake in the files, or a
change that needs a restart, leaves the service exactly as it was and says so in the log.
"""

from collections.abc import Callable

import structlog

from service.app.application import Application
from service.app.build_handlers import HandlerTuning, handler_tuning
from service.dispatch import Dispatcher
from service.errors import ConfigurationError
from service.settings import Settings
from service.settings.changes import changed_paths, dotted, needs_restart
from service.telemetry import set_level

log = structlog.get_logger(__name__)


class Reloader:
    """Applies a changed configuration to a running application.

    Args:
        application: What runs.
        load: Reads the configuration anew.
    """

    def __init__(self, application: Application, load: Callable[[], Settings]) -> None:
        self._application = application
        self._load = load

    def reload(self) -> bool:
        """Take over what has changed.

        Returns:
            Whether the running configuration is now the one in the files.
        """
        try:
            settings = self._load()
            paths = changed_paths(self._application.settings, settings)
            fixed = needs_restart(paths)
            if fixed:
                log.error("reload refused", needs_restart=[dotted(path) for path in fixed])
                return False
            tunings = self._tunings(settings)
        except (ConfigurationError, OSError) as exc:
            problems = getattr(exc, "problems", [str(exc)])
            # not exception(): the problems say all of it, for people who wrote the file
            log.error("reload refused", problems=problems)  # noqa: TRY400 -- see above
            return False
        for dispatcher, tuning in tunings:  # nothing below can fail
            dispatcher.retune(where=tuning.where, timeout_s=tuning.timeout_s, retry=tuning.retry)
        for built in self._application.pipelines.values():
            built.pipeline.refilter()
        set_level(settings.logging.level)
        self._application.settings = settings
        log.info("configuration reloaded", changed=[dotted(path) for path in paths])
        return True

    def _tunings(self, settings: Settings) -> list[tuple[Dispatcher, HandlerTuning]]:
        """The new tuning of every handler.

        Raises:
            ConfigurationError: If a filter does not compile.
        """
        return [
            (dispatcher, handler_tuning(settings.pipelines[name].handlers[dispatcher.name]))
            for name, built in self._application.pipelines.items()
            for dispatcher in built.dispatchers
        ]
