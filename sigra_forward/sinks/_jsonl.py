"""`JSONLForwarder`: one JSON object a line, appended to a file that several processes may share."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from time import monotonic, sleep
from typing import TYPE_CHECKING

from sigra_forward._backoff import is_count
from sigra_forward._json_texts import json_texts
from sigra_forward._outcome import Ack
from sigra_forward._settle import seconds
from sigra_forward.errors import ConfigurationError, MissingDependencyError, SinkError

try:
    import fcntl
except ImportError as exc:  # Windows
    _msg = "JSONLForwarder needs POSIX file locks (the fcntl module), which this platform has not"
    raise MissingDependencyError(_msg, name=exc.name) from exc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sigra_forward._event import AuditEvent

LOCK_POLL = (0.0005, 0.02)
"""Shortest and longest pause, in seconds, between two tries for the lock. POSIX has no lock with a timeout."""


class JSONLForwarder:
    """
    Append each event to a file, as one line of JSON.

    The file is opened with each batch, so a rename from outside rotates it, and nothing is held between batches or
    over a fork. Each batch is one write, under an advisory lock (``flock``) on the file. A last line that a crash
    left torn is ended there first; never truncated: its event was never acknowledged and comes again, whole. A
    repeat carries the same ``id`` and ``source``. The lines are ASCII, so that a torn one can be decoded too, and no
    text of an event is taken for a line break.

    Args:
        path: The file. It is created with permissions 0600; those of an existing one are left alone.
        fsync: Whether a yes means that the lines are on the disk (`os.fsync`), or with the operating system.
        deadline: Seconds that one call waits for the lock.
        max_events: The largest batch.

    Raises:
        ConfigurationError: An option makes no sense.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fsync: bool = True,
        deadline: float = 10.0,
        max_events: int = 1000,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)) or str(path) in {"", "."} or "\x00" in str(path):
            msg = "JSONLForwarder(path=...) must be the path of a file"
            raise ConfigurationError(msg)
        if not seconds(deadline):
            msg = "JSONLForwarder(deadline=...) must be a finite number of seconds above 0"
            raise ConfigurationError(msg)
        if not is_count(max_events):
            msg = "JSONLForwarder(max_events=...) must be an integer of at least 1"
            raise ConfigurationError(msg)
        self.path = Path(path).absolute()
        self.deadline = deadline
        self.max_events = max_events
        self._fsync = fsync
        self._status = "fsynced" if fsync else "written"

    def forward(self, event: AuditEvent) -> Ack:
        """
        Append *event*.

        Returns:
            Where its line begins, as a byte offset, and ``"fsynced"`` or ``"written"``.

        Raises:
            OSError: The file cannot be opened or written (no space, no permission).
            SinkError: The path is no regular file, or the lock was not to be had within the deadline.
        """
        return Ack(str(self._append(_line(event))), self._status)

    def forward_batch(self, events: Sequence[AuditEvent]) -> list[Ack | Exception | None]:
        """Append *events* in one write, but for those that cannot be told as JSON; see `forward`."""
        lines, answers = _lines(events)
        offset = self._append(b"".join(lines))
        sizes = iter(map(len, lines))
        for index, answer in enumerate(answers):
            if answer is None:
                answers[index] = Ack(str(offset), self._status)
                offset += next(sizes)
        return answers

    def _append(self, lines: bytes) -> int:
        with self._locked(monotonic() + self.deadline) as file:
            offset = os.lseek(file, 0, os.SEEK_END)
            if self._fsync and not offset:
                _fsync_directory(self.path.parent)
            if offset and os.pread(file, 1, offset - 1) != b"\n":
                lines = b"\n" + lines
                offset += 1
            _write_all(file, lines)
            if self._fsync:
                os.fsync(file)
        return offset

    @contextmanager
    def _locked(self, until: float) -> Iterator[int]:
        """Open the file that has the path, and lock it: while we wait for the lock, it may be renamed."""
        while True:
            file = _open(self.path)
            try:
                _lock(file, until)
                if _has_path(file, self.path):
                    yield file
                    return
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # closing does not, where a child forked meanwhile has the file too
                os.close(file)


def _lines(events: Sequence[AuditEvent]) -> tuple[list[bytes], list[Ack | Exception | None]]:
    """Return the lines of those of *events* that can be told, and for each of *events* why it cannot."""
    try:
        return [f"{text}\n".encode() for text in json_texts(events)], [None] * len(events)
    except Exception:  # noqa: BLE001 - one event's own fault; which, is told one by one
        lines: list[bytes] = []
        answers: list[Ack | Exception | None] = []
    for event in events:
        try:
            lines.append(_line(event))
            answers.append(None)
        except Exception as exc:  # noqa: BLE001 - that event's own fault; the others go out
            answers.append(exc)
    return lines, answers


def _line(event: AuditEvent) -> bytes:
    return json.dumps(event.to_dict(), allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        file = os.open(path, flags | os.O_EXCL, 0o600)
    except FileExistsError:
        file = os.open(path, flags, 0o600)
    else:
        with suppress(PermissionError):  # a file system without permissions
            os.fchmod(file, 0o600)  # whatever the umask left of it
    if S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    reason = "not_a_file"
    raise SinkError(reason, detail="the path of a JSONLForwarder must be a regular file")


def _has_path(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: int, until: float) -> None:
    pause, longest = LOCK_POLL
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() + pause > until:
                reason = "locked"
                raise SinkError(reason, detail="another process holds the file's lock") from None
        sleep(pause)
        pause = min(2 * pause, longest)


def _write_all(file: int, lines: bytes) -> None:
    """Write *lines*: at once, unless the disk fills up on the way, and then the next write says so."""
    rest = memoryview(lines)
    while rest:
        rest = rest[os.write(file, rest) :]


def _fsync_directory(directory: Path) -> None:
    """Make the name of a new file as durable as its lines."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
