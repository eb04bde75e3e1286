"""
The public contract suites: subclass one in your tests, give it what it asks for, and pytest holds you to the port.

What a suite needs of you are the methods and fixtures that raise `NotImplementedError` here.
"""

from __future__ import annotations

from sigra_forward.testing.contracts._audit_repository import AuditRepositoryContract
from sigra_forward.testing.contracts._forwarder import ForwarderContract
from sigra_forward.testing.contracts._job_queue import JobQueueContract

__all__ = ["AuditRepositoryContract", "ForwarderContract", "JobQueueContract"]
