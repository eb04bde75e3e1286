"""``python -m sigra_forward``: real processes, on SQLite files."""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from sigra_forward.__main__ import GC_THRESHOLDS, main
from sigra_forward.stores import SQLiteLedger
from tests.support_parts import PATIENCE, wait_until

APP = """
    import os
    from datetime import datetime, timezone
    from sigra_forward import AuditForward, Route, SchemaMismatchError
    from sigra_forward.sinks import JSONLForwarder
    from sigra_forward.stores import SQLiteAuditRepository, SQLiteLedger

    class Picky:
        def __init__(self, path):
            self.forward_to = JSONLForwarder(path).forward

        def forward(self, event):
            if event.action == "bad" and not os.path.exists("mended"):
                raise SchemaMismatchError("no such action")
            return self.forward_to(event)

    ledger = SQLiteLedger("ledger.db")
    ledger.create()
    since = datetime(2026, 1, 1, tzinfo=timezone.utc)
    siem = Route(Picky("siem.jsonl"), since=since)
    table = SQLiteAuditRepository("app.db")
    audit_forward = AuditForward(table, {"siem": siem}, ledger=ledger)
    without_ledger = AuditForward(table, {"siem": siem})
    number = 5

    def made():
        return audit_forward

    def fails():
        raise KeyError("a secret")

    class Namespace:
        audit_forward = audit_forward
"""


class App:
    """A host's folder, and the command run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        (folder / "shop.py").write_text(dedent(APP))
        with self._database() as db:
            db.execute("CREATE TABLE audit_events (id TEXT PRIMARY KEY, action TEXT, occurred_at TEXT)")

    def commit(self, *ids: str, action: str = "good", day: int = 2) -> None:
        """Commit rows."""
        with self._database() as db:
            rows = [(name, action, f"2026-01-{day:02}T00:00:00Z") for name in ids]
            db.executemany("INSERT INTO audit_events VALUES (?, ?, ?)", rows)

    def delete(self, audit_event_id: str) -> None:
        """Delete a row."""
        with self._database() as db:
            db.execute("DELETE FROM audit_events WHERE id = ?", (audit_event_id,))

    def start(self, *arguments: str, app: str = "shop:audit_forward") -> subprocess.Popen[str]:
        """Start the command."""
        command = [sys.executable, "-W", "error", "-m", "sigra_forward", *arguments, "--app", app]
        paths = os.pathsep.join(str(Path(path).absolute()) for path in sys.path if path)
        environment = {**os.environ, "PYTHONPATH": paths}
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=pipe, stderr=pipe, text=True)
        self._processes.append(process)
        return process

    def end(self) -> None:
        """Leave no process behind, whatever a test has found."""
        for process in self._processes:
            with process:
                process.kill()

    def run(self, *arguments: str, app: str = "shop:audit_forward") -> tuple[int, str, str]:
        """Run the command, and return its exit code and what it has printed."""
        process = self.start(*arguments, app=app)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def told(self, *arguments: str, code: int = 0) -> Any:
        """Run the command with ``--json``, and return what it has printed, line by line."""
        found, out, err = self.run(*arguments, "--json")
        assert code == found, err
        return [json.loads(line) for line in out.splitlines()]

    def sent(self) -> list[str]:
        """Return what the sink has taken; a line that is being written is not there yet."""
        path = self.folder / "siem.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line)["id"] for line in lines if line.endswith("\n")]

    def _database(self) -> Any:
        return _committing(self.folder / "app.db")


class _committing:
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.commit()
        self._connection.close()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """Give an app whose table is empty."""
    app = App(tmp_path)
    yield app
    app.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_relay_runs_until_it_is_told_to_stop(app: App, number: signal.Signals) -> None:
    """It pays what is owed and what comes, says when it is at work, and settles what is in hand."""
    app.commit("1", "2")
    process = app.start("relay", "--json")
    assert process.stdout is not None
    begun = json.loads(process.stdout.readline())
    wait_until(lambda: len(app.sent()) == 2)
    app.commit("3", day=3)
    wait_until(lambda: len(app.sent()) == 3)

    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)

    assert ({"relaying": ["siem"]}, {"relaying": []}, "", 0) == (begun, json.loads(out), err, process.returncode)
    assert ["1", "2", "3"] == app.sent()
    (summary,) = app.told("reconcile", "--forwarder", "siem")
    assert (3, 3, 0, True) == (
        summary["wanted"],
        summary["completed"],
        summary["owed"],
        summary["is_balanced"],
    )


def test_a_relay_that_is_killed_is_followed_by_another(app: App) -> None:
    """It goes on when the lease of the dead one is over, or at once where that let go."""
    app.commit("1")
    code, out, _ = app.run("relay", "--once", "--forwarder", "siem", "--rate", "1000")
    app.commit("2")

    assert (0, "", ["1"]) == (code, out, app.sent())
    assert 0 == app.run("relay", "--once")[0]
    assert ["1", "2"] == app.sent()


def test_the_whole_of_an_operators_day(app: App) -> None:
    """Something is refused, looked at, mended and sent again; something is excused; something is gone."""
    app.commit("1", "2")
    app.commit("bad 1", "bad 2", action="bad", day=3)
    app.commit("3", day=4)
    assert 0 == app.run("relay", "--once")[0]
    ((lane,),) = (line["lanes"] for line in app.told("status"))
    ((dry,), (held,)) = (
        app.told("replay", "--forwarder", "siem", "--dry-run"),
        app.told("safe-to-purge-before"),
    )
    excused = app.told("excuse", "--forwarder", "siem", "--id", "bad 2", "--why", "a test of ours")
    (app.folder / "mended").touch()
    (done,) = app.told("replay", "--forwarder", "siem", "--id", "bad 1", "--reason", "schema_mismatch")
    assert 0 == app.run("relay", "--once")[0]
    app.delete("1")
    app.commit("late", day=5)
    differences = app.told("reconcile", "--forwarder", "siem", code=1)

    assert ("siem", 2, 0, "2026-01-01T00:00:00+00:00") == (
        lane["forwarder"],
        lane["cancelled"],
        lane["retryable"],
        lane["floor"],
    )
    assert (2, True, "2026-01-03T00:00:00+00:00") == (dry["count"], dry["dry_run"], held["safe_to_purge_before"])
    assert ([{"excused": True}], 1, False) == (excused, done["count"], done["dry_run"])
    assert ["1", "2", "3", "bad 1"] == app.sent()
    named = [(each["kind"], each["audit_event_id"]) for each in differences[:-1]]
    assert ([("orphan", "1"), ("owed", "late")], 1) == (named, differences[-1]["owed"])


def test_a_backfill_is_begun(app: App) -> None:
    """It is paid by the next relay."""
    with app._database() as db:
        db.execute("INSERT INTO audit_events VALUES ('old', 'good', '2025-06-01T00:00:00Z')")
    app.run("relay", "--once")
    before = app.sent()
    arguments = ("backfill", "--forwarder", "siem", "--since", "2025-01-01T00:00:00Z")

    assert ([{"lowered": True}], [{"lowered": False}]) == (app.told(*arguments), app.told(*arguments))
    app.run("relay", "--once")
    assert ([], ["old"]) == (before, app.sent())


def test_the_page_of_the_docs_is_true(app: App) -> None:
    """Its module works, and each of its commands ends as its table of exit codes has it."""
    page = (Path(__file__).parent.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    (module,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (block,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    (app.folder / "shop.py").write_text(module)
    commands = [shlex.split(line)[3:] for line in block.splitlines()]
    app.commit("1")

    told = []
    for name, *options in commands:
        once = ["--once"] if name == "relay" else []
        options = options[: options.index("--app")] + options[options.index("--app") + 2 :]
        code, _, err = app.run(name, *options, *once)
        told.append((name, code, err.partition(" ")[0]))

    names = ["relay", "status", "reconcile", "replay", "replay", "excuse", "backfill", "enable"]
    names.append("safe-to-purge-before")
    codes = [0, 0, 0, 0, 0, 1, 0, 0, 0]
    assert list(zip(names, codes, ["", "", "", "", "if", "", "", "", ""], strict=True)) == told


# In this process: what is printed for people, and what is wrong with a command.


@pytest.fixture
def here(app: App, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the app as a module of this process, and a way to run a command."""
    monkeypatch.chdir(app.folder)
    monkeypatch.syspath_prepend(app.folder)
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    yield lambda *arguments, of="shop:audit_forward": main([*arguments, "--app", of])
    sys.modules.pop("shop", None)


def test_what_is_told_can_be_read(app: App, here: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each thing."""
    app.commit("1", "2")
    app.commit("bad", action="bad", day=3)
    app.commit("3", day=4)
    codes = [
        here("relay", "--once"),
        here("status"),
        here("replay", "--forwarder", "siem", "--dry-run", "--state", "cancelled", "--action", "b*"),
        here("excuse", "--forwarder", "siem", "--id", "bad", "--why", "agreed"),
        here("excuse", "--forwarder", "siem", "--id", "nobody", "--why", "agreed"),
        here("reconcile", "--forwarder", "siem", "--since", "2026-01-01T00:00:00Z", "--until", "2027-01-01T00:00:00Z"),
    ]
    app.delete("1")
    app.commit("late", day=1)
    codes += [
        here("reconcile", "--forwarder", "siem", "--make-due"),
        here("replay", "--forwarder", "siem", "--as-of", "2036-01-01T00:00:00Z"),
        here("backfill", "--forwarder", "siem", "--since", "2025-01-01T00:00:00Z"),
        here("backfill", "--forwarder", "siem", "--since", "2025-01-01T00:00:00Z"),
        here("safe-to-purge-before", "--forwarder", "siem"),
        here("enable", "--forwarder", "siem"),
    ]
    SQLiteLedger(app.folder / "ledger.db").block(1, 60)
    codes.append(here("enable", "--forwarder", "siem"))
    out, err = capsys.readouterr()
    lines = out.splitlines()
    table, rest = lines[:14], lines[14:]

    assert [0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0] == codes
    assert ("audit_events -> siem", "  cancelled      1", "  next_due       -") == (table[0], table[4], table[6])
    assert table[11].startswith("  tail           name=tail position=[")
    assert [
        "1 would be made due again, 0 skipped",
        "excused",
        "there is no such dead letter",
        "4 wanted + 0 orphans = 3 completed + 0 retryable + 1 cancelled + 0 discarded + 0 owed (0 written meanwhile)",
        "orphan 1 2026-01-02T00:00:00+00:00 its row is gone",
        "owed late 2026-01-01T00:00:00+00:00",
        "4 wanted + 1 orphans = 3 completed + 0 retryable + 1 cancelled + 0 discarded + 1 owed (0 written meanwhile)",
        "1 made due again, 0 skipped",
        "the floor is lowered",
        "the floor is not higher: let be",
        "2026-01-01T00:00:00+00:00",
        "its breaker is not open: let be",
        "enabled",
    ] == rest
    assert "if this is killed, finish it with --as-of 2036-01-01T00:00:00+00:00\n" == err


def test_sides_that_are_not_equal_are_seen(app: App, here: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Though no event can be named: a view, say, that has lost a row behind the lookup's back."""
    app.commit("1")
    here("relay", "--once")
    import shop  # type: ignore[import-not-found]

    shop.table.scan = lambda *arguments, **options: []

    assert 1 == here("reconcile", "--forwarder", "siem")
    assert "0 wanted + 0 orphans != 1 completed" in capsys.readouterr().out


def test_a_relay_in_words(app: App, here: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What it works for, how it is stopped, and that it has: by a signal, whichever thread gets it, and by no other."""
    app.commit("1")
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    hosts_own: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: hosts_own.append(number))

    thresholds = gc.get_threshold()
    seen: list[object] = []

    def stop() -> None:
        wait_until(lambda: app.sent() == ["1"])
        seen.append(gc.get_threshold())
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        app.commit("2", day=3)
        wait_until(lambda: app.sent() == ["1", "2"])
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    stopper = threading.Thread(target=stop)
    handlers = [signal.getsignal(number) for number in numbers]
    stopper.start()

    code = here("relay")
    stopper.join()

    assert [signal.SIGUSR1] == hosts_own
    assert ([GC_THRESHOLDS], thresholds) == (seen, gc.get_threshold())
    assert handlers == [signal.getsignal(number) for number in numbers]
    assert (0, "relaying siem; SIGTERM or Ctrl-C settles what is in hand\nstopped\n") == (code, capsys.readouterr().out)
    signal.signal(signal.SIGUSR1, before)


APPS = {
    "no colon": ("shop", "--app shop: say module:attr, as in shop.audit:audit_forward"),
    "no module": (":audit_forward", "--app :audit_forward: say module:attr, as in shop.audit:audit_forward"),
    "an unknown module": ("shopping:x", "--app shopping:x: No module named 'shopping'"),
    "an unknown attribute": ("shop:x", "--app shop:x: module 'shop' has no attribute 'x'"),
    "something else": (
        "shop:number",
        "--app shop:number: 'number' gives an object of type int: it must be an AuditForward, or a function that returns one",
    ),
    "a function that fails": (
        "shop:fails",
        "--app shop:fails: it raised KeyError: `python -c 'import shop'` may show where",
    ),
    "no ledger": ("shop:without_ledger", "this needs an AuditForward whose ledger has now, "),
}


@pytest.mark.parametrize(("spelled", "words"), APPS.values(), ids=list(APPS))
def test_a_wrong_app_is_said(here: Any, capsys: pytest.CaptureFixture[str], spelled: str, words: str) -> None:
    """It says what is wrong, and the exit code is 2."""
    code = here("status", of=spelled)

    out, err = capsys.readouterr()
    assert (2, "", True) == (code, out, err.startswith(words)), err


@pytest.mark.parametrize("spelled", ["shop:made", "shop:Namespace.audit_forward"])
def test_an_app_may_be_made_or_be_anywhere(here: Any, capsys: pytest.CaptureFixture[str], spelled: str) -> None:
    """By a function without arguments, or within something else."""
    assert 0 == here("status", of=spelled)
    assert capsys.readouterr().out.startswith("audit_events -> siem\n")


MISTAKES = {
    "a moment": (["--since", "yesterday"], "not an ISO 8601 date and time"),
    "a naive moment": (["--until", "2026-01-01T00:00"], "it has no offset: end it with Z for UTC"),
    "a state": (["--state", "lost"], "must be one of completed, retryable, cancelled, discarded"),
}


@pytest.mark.parametrize(("options", "words"), MISTAKES.values(), ids=list(MISTAKES))
def test_a_wrong_option_is_said(here: Any, capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    """It says what is allowed, and the exit code is 2."""
    with pytest.raises(SystemExit) as told:
        here("replay", "--forwarder", "siem", *options)

    assert (2, True) == (told.value.code, words in capsys.readouterr().err)


def test_a_wrong_forwarder_is_said(here: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With those that there are."""
    assert 2 == here("reconcile", "--forwarder", "nobody")
    assert "those of the AuditForward are: siem\n" in capsys.readouterr().err


def test_a_port_that_fails_is_told_by_its_kind(app: App, here: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A foreign message may quote; and it is no difference."""
    with closing(sqlite3.connect(app.folder / "app.db")) as db:
        db.execute("DROP TABLE audit_events")
    missing = here("reconcile", "--forwarder", "siem")
    (app.folder / "app.db").write_bytes(b"a secret" * 1000)
    broken = here("reconcile", "--forwarder", "siem")

    err = capsys.readouterr().err.splitlines()
    assert (2, 3) == (missing, broken)
    assert "the database has no table 'audit_events'" in err[0]
    assert "the ledger or the audit table cannot be asked now: DatabaseError" == err[1]
