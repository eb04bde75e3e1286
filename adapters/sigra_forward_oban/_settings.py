"""`worker_settings`, which Oban's workers need; and what Oban's own configuration says already."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from oban._config import Config
from psycopg.conninfo import conninfo_to_dict

from sigra_forward import ConfigurationError
from sigra_forward.queues.adapter import seconds

DEFAULT_PREFIX = "public"

DEFAULT_RESCUE_AFTER = 300.0
"""Seconds. Source: oban._lifeline.Lifeline, Oban 0.7."""

RESCUE_INTERVAL = 10.0
"""Seconds from one look for lost jobs to the next: one short statement of the leader's."""

KEPT_FOR = 7 * 24 * 3600
"""Seconds for which a job that has ended can be seen: as long as Dramatiq keeps its dead letters."""

# Oban puts the prefix into its SQL as it stands, so it must need no quotes. PostgreSQL takes 63 bytes as the name of a
# channel, and Oban's is the prefix with ".oban_insert".
_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,50}")


class Table(NamedTuple):
    """Where the jobs are, and when one is taken for lost."""

    connection: dict[str, Any]
    """What `psycopg.connect` takes."""

    prefix: str
    rescue_after: float


def worker_settings(rescue_after: float = DEFAULT_RESCUE_AFTER) -> dict[str, dict[str, float]]:
    """
    Return the settings with which lost jobs come back soon and ended ones stay: ``Oban(…, **worker_settings())``.

    The same stands in ``oban.toml`` for ``oban start``. The leader looks for the jobs of workers that were killed every
    10 seconds instead of every 60, and what has ended stays in ``oban_jobs`` for 7 days instead of one.

    Args:
        rescue_after: Seconds from the start of a run until Oban takes its worker for dead and gives the job to
            another, whether it is dead or not. Tell `ObanQueue` the same. Where Elixir's nodes share the table:
            3600, as theirs is, because it counts for all jobs of the table.
    """
    return {
        "lifeline": {"rescue_after": rescue_after, "interval": RESCUE_INTERVAL},
        "pruner": {"max_age": KEPT_FOR},
    }


def table(dsn: str | None, prefix: str | None, rescue_after: float | None) -> Table:
    """
    Return where the jobs are: what is ``None`` is taken from Oban's own configuration.

    Raises:
        ConfigurationError: Something is missing, or makes no sense.
    """
    config = Config() if None not in (dsn, prefix, rescue_after) else _configured()
    lifeline = config.lifeline or {}
    return Table(
        _connection(config.dsn if dsn is None else dsn),
        _prefix((config.prefix or DEFAULT_PREFIX) if prefix is None else prefix),
        _rescue_after(lifeline.get("rescue_after", DEFAULT_RESCUE_AFTER) if rescue_after is None else rescue_after),
    )


def _configured() -> Config:
    try:
        return Config.load()
    except Exception as exc:
        msg = f"Oban's own configuration, in oban.toml or OBAN_*, cannot be read: {type(exc).__name__}"
        raise ConfigurationError(msg) from exc


def _connection(dsn: object) -> dict[str, Any]:
    if dsn is None:
        msg = "ObanQueue does not know the database: pass dsn=..., or set OBAN_DSN, or dsn in oban.toml"
        raise ConfigurationError(msg)
    try:
        return conninfo_to_dict(dsn)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - psycopg's message quotes the DSN, and its password with it
        msg = "ObanQueue(dsn=...) must be a DSN as psycopg takes it, such as postgresql://user@host/database"
        raise ConfigurationError(msg) from None


def _prefix(prefix: object) -> str:
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        msg = "ObanQueue(prefix=...) must name a schema without quotes: 1 to 51 of a-z 0-9 _, no digit first"
        raise ConfigurationError(msg)
    return prefix


def _rescue_after(value: object) -> float:
    after = seconds(value)
    if not after:
        msg = "ObanQueue(rescue_after=...) must be a finite number of seconds above 0: that of Oban's lifeline"
        raise ConfigurationError(msg)
    return after
