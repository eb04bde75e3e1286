"""
The public contract suites: subclass one in your tests, give it what it asks for, and pytest holds you to the port.

What a suite needs of you stands in its docstring: fixtures, which may also come from a ``conftest.py``, and methods.
"""

from __future__ import annotations

import pytest

# Before they are imported, so that a failure shows the values.
_SUITES = ("_audit_repository", "_forwarder", "_job_queue", "_queue_worker", "_sink")
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in _SUITES))

from sigra_forward.testing.contracts._audit_repository import AuditRepositoryContract  # noqa: E402
from sigra_forward.testing.contracts._forwarder import ForwarderContract  # noqa: E402
from sigra_forward.testing.contracts._hostile import within  # noqa: E402
from sigra_forward.testing.contracts._job_queue import JobQueueContract  # noqa: E402
from sigra_forward.testing.contracts._queue_worker import Ended, QueueWorkerContract, Rig  # noqa: E402
from sigra_forward.testing.contracts._sink import SinkContract  # noqa: E402

__all__ = [
    "AuditRepositoryContract",
    "Ended",
    "ForwarderContract",
    "JobQueueContract",
    "QueueWorkerContract",
    "Rig",
    "SinkContract",
    "within",
]
