"""What Dramatiq's brokers must be set to so that no job is lost with a worker, or started twice at once."""

from __future__ import annotations

from sigra_forward import ConfigurationError
from sigra_forward.queues.adapter import Binding

REDIS_BROKER_OPTIONS = {"heartbeat_timeout": 60_000, "maintenance_chance": 100_000}
"""
What a Redis broker needs so that no job is lost with a worker: ``RedisBroker(url=..., **REDIS_BROKER_OPTIONS)``.

A worker that is not heard of for ``heartbeat_timeout`` milliseconds is taken for dead. Workers look for the jobs of
dead ones with one command in ten, of which an idle one sends about one a second; by default, with one in a thousand.
"""

LEAST_MAINTENANCE_CHANCE = 10_000
"""In a million commands; a worker process that idles then looks every other minute."""

CONSUMER_TIMEOUT = 1800
"""Seconds. Source: RabbitMQ's consumer_timeout, 30 minutes by default since RabbitMQ 3.8.17."""


def check_redis(heartbeat_timeout: float, maintenance_chance: int, binding: Binding) -> None:
    """
    See that the jobs of a worker that was killed come back soon, and those of one that lives do not.

    A worker process is heard of as long as it fetches, and while all its threads are busy and it has fetched its fill,
    only when a job ends.

    Args:
        heartbeat_timeout: In milliseconds.
        maintenance_chance: In a million commands.
        binding: Knows how long a job may take.

    Raises:
        ConfigurationError: They do not.
    """
    setting = "RedisBroker(heartbeat_timeout=...)"
    binding.require_rescue_after(heartbeat_timeout / 1000, binding.longest_run(), setting)
    if maintenance_chance < LEAST_MAINTENANCE_CHANCE:
        msg = (
            f"RedisBroker(maintenance_chance={maintenance_chance}) looks for the jobs of workers that were killed with "
            f"{maintenance_chance} commands in a million, and a worker that idles sends about one in a second: set it "
            f"to {LEAST_MAINTENANCE_CHANCE} or more, or pass **sigra_forward_dramatiq.REDIS_BROKER_OPTIONS"
        )
        raise ConfigurationError(msg)


def check_rabbitmq(binding: Binding) -> None:
    """
    See that RabbitMQ does not give a job to another worker while one holds it back, for its retry, or runs it.

    Raises:
        ConfigurationError: It might.
    """
    needed = binding.longest_wait() + binding.longest_run()
    setting = "RabbitMQ's consumer_timeout, as far as can be told from here,"
    binding.require_rescue_after(CONSUMER_TIMEOUT, needed, setting)
