"""`JSONLForwarder`, on real files, with real processes that get in its way."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sigra_forward import Ack, AuditEvent, ConfigurationError, SinkError
from sigra_forward.sinks import JSONLForwarder, _jsonl
from sigra_forward.testing import ForwarderContract, make_event
from sigra_forward.testing.contracts._hostile import HOSTILE_TEXTS, run_in_threads
from tests.support_ids import spelled
from tests.support_parts import InThread, python, python_process, wait_until


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def lines(path: Path) -> list[bytes]:
    """Return the lines of the file, all of which must have been ended."""
    *ended, rest = path.read_bytes().split(b"\n")
    assert b"" == rest
    return ended


def ids(path: Path) -> list[str]:
    """Return the ids of the events in the file."""
    return [json.loads(line)["id"] for line in lines(path)]


def whole_ids(path: Path) -> tuple[list[str], int]:
    """Return the ids of the lines that are whole, and how many are not."""
    found, torn = [], 0
    for line in path.read_bytes().split(b"\n"):
        try:
            found.append(json.loads(line)["id"])
        except ValueError:
            torn += bool(line)
    return found, torn


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file at *path*, by an open file of its own, as another process would."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Untellable(Mapping):
    """Metadata that cannot be read."""

    def __getitem__(self, key: str) -> object:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        return 1


# The contract


class JSONLContract(ForwarderContract):
    """The contract, on a file."""

    fsync = True

    @pytest.fixture(name="forwarder")
    def _forwarder(self, path: Path) -> JSONLForwarder:
        return JSONLForwarder(path, fsync=self.fsync)

    @pytest.fixture(name="broken_forwarder")
    def _broken_forwarder(self, tmp_path: Path) -> JSONLForwarder:
        return JSONLForwarder(tmp_path / "gone" / "audit.jsonl", fsync=self.fsync)

    def received(self, forwarder: JSONLForwarder) -> Sequence[str]:
        return ids(forwarder.path)


class TestFsynced(JSONLContract):
    """A yes means that the line is on the disk."""


class TestWritten(JSONLContract):
    """A yes means that the operating system has the line."""

    fsync = False


class TestLocked(JSONLContract):
    """The sink that is down is a file that another process has locked."""

    @pytest.fixture(name="broken_forwarder")
    def _broken_forwarder(self, path: Path) -> Iterator[JSONLForwarder]:
        with locked(path):
            yield JSONLForwarder(path, deadline=0.05)


# Lines


def test_a_line_is_the_event_as_json(path: Path) -> None:
    """One object a line, with all fields."""
    event = make_event(metadata={"a": [1, None, 2.5, "ü"]})

    JSONLForwarder(path).forward(event)

    assert [event.to_dict()] == [json.loads(line) for line in lines(path)]


@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
def test_a_line_is_a_line_to_every_reader(path: Path, text: str) -> None:
    """No text of an event breaks a line, whatever a reader takes for a line break or for an escape code."""
    JSONLForwarder(path).forward(make_event(user_agent=text, metadata={text: text}))

    (line,) = path.read_text(encoding="ascii").splitlines()
    assert line.isprintable()


def test_numbers_that_json_has_not_are_text(path: Path) -> None:
    """NaN and infinities are valid JSON too."""
    JSONLForwarder(path).forward(make_event(metadata={"x": [float("nan"), float("inf")]}))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert ["NaN", "Infinity"] == json.loads(path.read_bytes(), parse_constant=refuse)["metadata"]["x"]


# The file


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777], ids=oct)
def test_the_file_is_created_for_its_owner_alone(path: Path, umask: int) -> None:
    """Permissions are 0600, whatever the umask."""
    before = os.umask(umask)
    try:
        JSONLForwarder(path).forward(make_event())
    finally:
        os.umask(before)

    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666], ids=oct)
def test_the_permissions_of_an_existing_file_are_left_alone(path: Path, mode: int) -> None:
    """A host that lets a group read the file goes on doing so."""
    path.touch()
    path.chmod(mode)

    JSONLForwarder(path).forward(make_event())

    assert mode == stat.S_IMODE(path.stat().st_mode)


def test_what_is_there_is_kept(path: Path) -> None:
    """It appends."""
    first, second = make_event(), make_event()
    JSONLForwarder(path).forward(first)

    JSONLForwarder(path).forward(second)

    assert [first.id, second.id] == ids(path)


def test_a_relative_path_means_the_directory_at_construction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that changes its directory later writes into the same file."""
    monkeypatch.chdir(path.parent)
    forwarder = JSONLForwarder(path.name)
    monkeypatch.chdir("/")

    forwarder.forward(make_event())

    assert path == forwarder.path
    assert path.exists()


def test_a_link_to_a_file_that_is_not_there_yet_makes_it(path: Path, tmp_path: Path) -> None:
    """The path may be a symbolic link, also one whose target comes with the first event."""
    path.symlink_to(tmp_path / "target.jsonl")
    event = make_event()

    JSONLForwarder(path).forward(event)

    assert [event.id] == ids(tmp_path / "target.jsonl")


def test_a_rename_rotates_the_file(path: Path, tmp_path: Path) -> None:
    """What comes after the rename stands in a new file."""
    forwarder = JSONLForwarder(path)
    before, after = make_event(), make_event()
    forwarder.forward(before)
    path.rename(tmp_path / "audit.jsonl.1")

    ack = forwarder.forward(after)

    assert ([before.id], [after.id], "0") == (ids(tmp_path / "audit.jsonl.1"), ids(path), ack.ref)


@pytest.mark.parametrize("is_kept", [True, False], ids=["renamed", "deleted"])
@pytest.mark.parametrize("is_replaced", [True, False], ids=["replaced", "gone"])
def test_a_rename_while_it_waits_for_the_lock_rotates_too(
    path: Path, tmp_path: Path, is_kept: bool, is_replaced: bool
) -> None:
    """A yes is never for a line in a file that has no name any more."""
    event = make_event()
    with locked(path):
        call = InThread(JSONLForwarder(path, deadline=60).forward, event)
        wait_until(lambda: opened(path) > 1)
        path.rename(tmp_path / "old")
        if not is_kept:
            (tmp_path / "old").unlink()
        if is_replaced:
            path.touch()

    assert Ack("0", "fsynced") == call.result()
    assert [event.id] == ids(path)


def opened(path: Path) -> int:
    """Return how often this process has the file open."""
    there = path.stat()
    count = 0
    for number in range(256):
        try:
            count += os.path.samestat(os.fstat(number), there)
        except OSError:
            continue
    return count


# Acks


def test_an_ack_tells_where_its_line_begins(path: Path) -> None:
    """The offset in bytes, of each event of a batch, behind what was there."""
    forwarder = JSONLForwarder(path)
    events = [make_event(user_agent="ü" * number) for number in range(4)]
    acks = [forwarder.forward(events[0]), *forwarder.forward_batch(events[1:3]), forwarder.forward(events[3])]

    content = path.read_bytes()
    found = [json.loads(content[int(ack.ref) :].split(b"\n")[0])["id"] for ack in acks]

    assert [event.id for event in events] == found
    assert "0" == acks[0].ref


def test_an_ack_behind_a_torn_line_is_right_too(path: Path) -> None:
    """The line break that ends the torn line is counted."""
    path.write_bytes(b"torn")

    assert [Ack("5", "fsynced")] == JSONLForwarder(path).forward_batch([make_event()])


@pytest.mark.parametrize(("fsync", "status"), [(True, "fsynced"), (False, "written")])
def test_an_ack_says_what_the_yes_means(path: Path, fsync: bool, status: str) -> None:
    """On the disk, or with the operating system."""
    forwarder = JSONLForwarder(path, fsync=fsync)

    assert [status] * 2 == [forwarder.forward(make_event()).status, forwarder.forward_batch([make_event()])[0].status]


class Calls:
    """Stands before `os` in the forwarder's module, and keeps what is called."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        if name not in {"write", "fsync"}:
            return real

        def call(file: int, *arguments: object) -> object:
            what = "directory" if stat.S_ISDIR(os.fstat(file).st_mode) else "file"
            self.made.append(f"{name} {what}")
            return real(file, *arguments)

        return call


@pytest.fixture(name="calls")
def _calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(_jsonl, "os", calls)
    return calls


def test_a_batch_is_one_write(path: Path, calls: Calls) -> None:
    """However many events it has, the end of a torn line included."""
    path.write_bytes(b"torn")

    JSONLForwarder(path, fsync=False).forward_batch([make_event() for _ in range(1000)])

    assert ["write file"] == calls.made


def test_a_yes_comes_after_the_fsync(path: Path, calls: Calls) -> None:
    """The directory is synced for a new file, before the first line is in it, and the file with every batch."""
    forwarder = JSONLForwarder(path)
    forwarder.forward(make_event())
    forwarder.forward_batch([make_event(), make_event()])

    assert ["fsync directory", "write file", "fsync file", "write file", "fsync file"] == calls.made


def test_the_name_of_a_file_that_another_has_just_made_is_synced_too(path: Path, calls: Calls) -> None:
    """Whoever made it may have died before it came to that."""
    path.touch()

    JSONLForwarder(path).forward(make_event())

    assert "fsync directory" in calls.made


# Batches


def test_a_batch_keeps_its_order(path: Path) -> None:
    """Lines stand in the order of the events."""
    events = [make_event() for _ in range(50)]

    JSONLForwarder(path).forward_batch(events)

    assert [event.id for event in events] == ids(path)


def test_an_event_that_cannot_be_told_holds_up_no_other(path: Path) -> None:
    """It is answered with what it raised, and the others of its batch with their offsets."""
    bad = make_event()
    bad.metadata["x"] = Untellable()
    good = [make_event(), make_event()]

    answers = JSONLForwarder(path).forward_batch([good[0], bad, good[1]])

    assert [Ack, RuntimeError, Ack] == list(map(type, answers))
    assert [event.id for event in good] == ids(path)
    assert str(len(lines(path)[0]) + 1) == answers[2].ref


def test_an_event_that_cannot_be_told_raises_alone(path: Path) -> None:
    """On its own it raises what cannot be told, and leaves the file alone."""
    bad = make_event()
    bad.metadata["x"] = Untellable()

    with pytest.raises(RuntimeError):
        JSONLForwarder(path).forward(bad)
    assert not path.exists()


def test_a_batch_may_be_empty(path: Path) -> None:
    """No events, no answers, no lines."""
    answers = JSONLForwarder(path).forward_batch([])

    assert ([], b"") == (answers, path.read_bytes())


# Torn lines


@pytest.mark.parametrize("torn", [b"{", b'{"id":"1"}', b"\xc3", b'{"id":"1"}\n{"id":"2'], ids=str)
def test_a_torn_last_line_is_ended_and_kept(path: Path, torn: bytes) -> None:
    """It is never truncated, and no event is written into it."""
    path.write_bytes(torn)
    event = make_event()

    JSONLForwarder(path).forward(event)

    assert path.read_bytes().startswith(torn + b"\n")
    assert event.id == json.loads(lines(path)[-1])["id"]


def test_a_whole_last_line_is_followed_at_once(path: Path) -> None:
    """There are no empty lines."""
    forwarder = JSONLForwarder(path)
    for _ in range(3):
        forwarder.forward(make_event())

    assert 3 == len(lines(path))
    assert b"" not in lines(path)


WRITER = """
    import sys
    from sigra_forward.sinks import JSONLForwarder
    from sigra_forward.testing import make_event

    path, name, batches, size, length = sys.argv[1:]
    forwarder = JSONLForwarder(path, fsync=False, deadline=60)
    for number in range(int(batches)):
        events = [
            make_event(id=f"{name}-{number}-{place}", user_agent="x" * int(length)) for place in range(int(size))
        ]
        print("begun", flush=True)
        acks = forwarder.forward_batch(events)
        assert all(ack.status == "written" for ack in acks)
        print(*(event.id for event in events), flush=True)
"""


KILLS = 6


def test_a_writer_killed_in_the_midst_of_a_write_costs_only_what_was_not_acknowledged(path: Path) -> None:
    """After each kill the next writer ends the torn line: what was acknowledged is there, once, and whole."""
    acknowledged: list[str] = []
    for number in range(KILLS):
        with python_process(WRITER, path, f"w{number}", 1000, 200, 20_000) as writer:
            for _ in range(2):
                assert "begun\n" == writer.stdout.readline()
                acknowledged += writer.stdout.readline().split()
            assert "begun\n" == writer.stdout.readline()
            size = path.stat().st_size
            wait_until(lambda size=size: path.stat().st_size > size)
            writer.kill()
            rest = writer.stdout.read().replace("begun\n", "").split("\n")
            acknowledged += [audit_event_id for line in rest[:-1] for audit_event_id in line.split()]
        ack = JSONLForwarder(path).forward(make_event(id=f"after-{number}"))
        acknowledged.append(f"after-{number}")
        assert ack.ref is not None

    found, torn = whole_ids(path)
    counted = Counter(found)
    assert [1] * len(acknowledged) == [counted[audit_event_id] for audit_event_id in acknowledged]
    assert 0 < torn <= KILLS


TEARER = """
    import fcntl, sys

    while sys.stdin.readline():
        with open(sys.argv[1], "ab", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(b'{"id":"torn')
            fcntl.flock(file, fcntl.LOCK_UN)
        print("torn", flush=True)
"""


def test_processes_share_a_file_while_lines_are_torn(path: Path) -> None:
    """Three writers and one that tears lines: every id is there once, and every line that was not torn is whole."""
    with python_process(TEARER, path) as tearer:
        writers = [python_process(WRITER, path, f"w{number}", 40, 20, 200) for number in range(3)]
        tears = 0
        while any(writer.poll() is None for writer in writers):
            tearer.stdin.write("go\n")
            tearer.stdin.flush()
            assert "torn\n" == tearer.stdout.readline()
            tears += 1
        tearer.stdin.close()
    acknowledged = [audit_event_id for writer in writers for audit_event_id in acknowledged_by(writer)]

    found, torn = whole_ids(path)

    assert 3 * 40 * 20 == len(acknowledged)
    assert Counter(acknowledged) == Counter(found)
    assert 0 < torn <= tears


def acknowledged_by(writer: object) -> list[str]:
    """Return the ids that the ended *writer* reported."""
    with writer:
        out = writer.stdout.read()
    return out.replace("begun", "").split()


def test_threads_share_a_file(path: Path) -> None:
    """Batches of several threads do not mix."""
    forwarder = JSONLForwarder(path, fsync=False)
    batches = [[make_event() for _ in range(20)] for _ in range(8)]

    run_in_threads([lambda batch=batch: forwarder.forward_batch(batch) for batch in batches])

    order = ids(path)
    starts = sorted(order.index(batch[0].id) for batch in batches)
    assert list(range(0, 160, 20)) == starts
    assert all([event.id for event in batch] == order[order.index(batch[0].id) :][:20] for batch in batches)


# The lock


HOLDER = """
    import fcntl, sys

    with open(sys.argv[1], "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        print("held", flush=True)
        sys.stdin.readline()
"""


def test_a_lock_that_another_process_holds_is_waited_for(path: Path) -> None:
    """Up to the deadline, and then it is the sink's fault; when the lock is free again all is well."""
    event = make_event()
    with python_process(HOLDER, path) as holder:
        assert "held\n" == holder.stdout.readline()
        with pytest.raises(SinkError) as raised:
            JSONLForwarder(path, deadline=0.05).forward(make_event())
        call = InThread(JSONLForwarder(path, deadline=60).forward, event)
        wait_until(lambda: opened(path) >= 1)
        assert not call.is_done
        holder.stdin.write("go\n")
        holder.stdin.flush()
        call.result()

    assert "locked" == raised.value.reason
    assert [event.id] == ids(path)


def test_a_lock_ends_with_the_process_that_held_it(path: Path) -> None:
    """A killed process leaves no lock behind."""
    with python_process(HOLDER, path) as holder:
        assert "held\n" == holder.stdout.readline()
        holder.kill()

    assert Ack("0", "fsynced") == JSONLForwarder(path).forward(make_event())


def test_nothing_is_held_between_calls(path: Path) -> None:
    """No lock and no open file, after a yes and after an error."""
    JSONLForwarder(path).forward(make_event())
    with locked(path), pytest.raises(SinkError):
        JSONLForwarder(path, deadline=0.001).forward(make_event())

    with locked(path):
        assert 1 == opened(path)


FORKING = """
    import os, sys
    from sigra_forward.sinks import JSONLForwarder
    from sigra_forward.testing import make_event

    forwarder = JSONLForwarder(sys.argv[1])
    forwarder.forward(make_event(id="before"))
    child = os.fork()
    forwarder.forward_batch([make_event(id="parent" if child else "child")] * 3)
    if child == 0:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_parent_and_child_share_a_file(path: Path) -> None:
    """A forwarder works on both sides of a fork."""
    python(FORKING, path)

    assert {"before": 1, "parent": 3, "child": 3} == Counter(ids(path))


FORKING_WITH_THE_FILE = """
    import os, sys
    from sigra_forward.sinks import JSONLForwarder
    from sigra_forward.testing import make_event

    class ForksMeanwhile(str):
        pass

    forwarder = JSONLForwarder(sys.argv[1], deadline=5)
    children = []

    def fsync(file):
        if not children:
            children.append(os.fork())
            if children == [0]:
                sys.stdin.read()
                os._exit(0)

    from sigra_forward.sinks import _jsonl
    _jsonl.os = type("OS", (), {"__getattr__": lambda self, name: fsync if name == "fsync" else getattr(os, name)})()
    forwarder.forward(make_event(id="first"))
    forwarder.forward(make_event(id="second"))
    print("done")
"""


def test_a_child_forked_in_the_midst_of_a_write_keeps_no_lock(path: Path) -> None:
    """The child has the open file too, for as long as it lives, and the parent's lock ends all the same."""
    with python_process(FORKING_WITH_THE_FILE, path) as process:
        assert "done\n" == process.stdout.readline()
        process.stdin.close()

    assert ["first", "second"] == ids(path)


# Sinks that are down


FULL = """
    import resource, sys
    from sigra_forward.sinks import JSONLForwarder
    from sigra_forward.testing import make_event

    path = sys.argv[1]
    forwarder = JSONLForwarder(path)
    forwarder.forward(make_event(id="before"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    try:
        print(forwarder.forward_batch([make_event(id=f"full-{number}") for number in range(100)]))
    except OSError as exc:
        print(type(exc).__name__)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    forwarder.forward(make_event(id="after"))
"""


def test_a_disk_that_fills_up_is_an_os_error(path: Path) -> None:
    """Nothing of the batch is acknowledged, and the line that it left torn is ended by the next write."""
    assert "OSError\n" == python(FULL, path)

    found, torn = whole_ids(path)
    assert ("before", "after", 1) == (found[0], found[-1], torn)
    assert len(found) < 100


def test_a_directory_that_is_not_there_is_an_os_error(path: Path) -> None:
    """It may come later, and then the file is made."""
    forwarder = JSONLForwarder(path.parent / "later" / "audit.jsonl")
    with pytest.raises(FileNotFoundError):
        forwarder.forward(make_event())
    (path.parent / "later").mkdir()

    assert Ack("0", "fsynced") == forwarder.forward(make_event())


def test_a_path_that_is_a_directory_is_an_os_error(tmp_path: Path) -> None:
    """The operating system says so."""
    with pytest.raises(IsADirectoryError):
        JSONLForwarder(tmp_path).forward(make_event())


def test_a_path_below_a_file_is_an_os_error(path: Path) -> None:
    """The operating system says so."""
    path.touch()

    with pytest.raises(NotADirectoryError):
        JSONLForwarder(path / "audit.jsonl").forward(make_event())


FORBIDDEN = """
    import os, sys
    from sigra_forward.sinks import JSONLForwarder
    from sigra_forward.testing import make_event

    user = os.geteuid()
    os.seteuid(user or 65534)  # root has every permission
    try:
        JSONLForwarder(sys.argv[1]).forward(make_event())
        print("written")
    except OSError as exc:
        print(type(exc).__name__)
    os.seteuid(user)
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("readonly.jsonl", "PermissionError\n"), ("new.jsonl", "PermissionError\n"), ("writable.jsonl", "written\n")],
)
def test_a_missing_permission_is_an_os_error(name: str, expected: str) -> None:
    """To write the file, or to make it."""
    with TemporaryDirectory() as temporary:  # pytest's own let nobody else through
        directory = Path(temporary)
        for existing, mode in (("readonly.jsonl", 0o444), ("writable.jsonl", 0o666)):
            (directory / existing).touch()
            (directory / existing).chmod(mode)
        directory.chmod(0o555)

        answer = python(FORBIDDEN, directory / name)
        directory.chmod(0o755)

    assert expected == answer


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_path_that_is_no_regular_file_is_refused(path: Path, kind: str) -> None:
    """A pipe would lose the lines, and a device too; nothing is written, and it does not hang."""
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")

    with pytest.raises(SinkError) as raised:
        JSONLForwarder(path).forward(make_event())
    assert "not_a_file" == raised.value.reason


WITHOUT_LOCKS = """
    import sys

    sys.modules["fcntl"] = None
    import sigra_forward
    from sigra_forward.sinks import NoopForwarder
    try:
        from sigra_forward.sinks import JSONLForwarder
    except sigra_forward.MissingDependencyError as exc:
        print(exc.name, exc, sep=": ")
"""


def test_a_platform_without_locks_is_told_at_import() -> None:
    """Everything else of the library works there."""
    assert "fcntl: JSONLForwarder needs POSIX file locks (the fcntl module), which this platform has not\n" == python(
        WITHOUT_LOCKS
    )


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": ""}, "path="),
        ({"path": Path()}, "path="),
        ({"path": 7}, "path="),
        ({"path": None}, "path="),
        ({"path": "a\x00b"}, "path="),
        ({"deadline": 0}, "deadline="),
        ({"deadline": -1}, "deadline="),
        ({"deadline": float("inf")}, "deadline="),
        ({"deadline": None}, "deadline="),
        ({"deadline": True}, "deadline="),
        ({"max_events": 0}, "max_events="),
        ({"max_events": "many"}, "max_events="),
    ],
    ids=spelled,
)
def test_an_option_that_makes_no_sense_is_told_at_construction(options: dict[str, object], words: str) -> None:
    """The message names the option."""
    with pytest.raises(ConfigurationError, match=words):
        JSONLForwarder(**{"path": "audit.jsonl", **options})


def test_it_tells_what_the_library_asks_of_it(path: Path) -> None:
    """The deadline and the largest batch are attributes."""
    forwarder = JSONLForwarder(path, deadline=2.5, max_events=7)

    assert (2.5, 7) == (forwarder.deadline, forwarder.max_events)


def test_an_event_is_left_as_it_was(path: Path) -> None:
    """It only reads."""
    event = make_event()
    before = event.to_dict()

    JSONLForwarder(path).forward(event)

    assert AuditEvent(**{**before, "occurred_at": event.occurred_at}) == event
