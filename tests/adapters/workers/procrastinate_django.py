"""A Django project on Procrastinate's own Django app: what it does with events, told line by line."""

from __future__ import annotations

import sys

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

parts = conninfo_to_dict(sys.argv[1])
names = {"NAME": "dbname", "USER": "user", "HOST": "host", "PORT": "port"}
database = {"ENGINE": "django.db.backends.postgresql", **{name: parts[part] for name, part in names.items()}}
databases = {
    "default": database,
    "down": {**database, "HOST": "127.0.0.1", "PORT": 1},
    "lite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
settings.configure(INSTALLED_APPS=["procrastinate.contrib.django"], DATABASES=databases, USE_TZ=True)

from procrastinate.contrib.django import app

from sigra_forward import AuditEvent, AuditForward, EnqueueError
from sigra_forward.stores import InMemoryAuditRepository
from sigra_forward.testing import RecordingForwarder, make_event
from sigra_forward_procrastinate import ProcrastinateQueue

siem, repository = RecordingForwarder(), InMemoryAuditRepository()
queue = ProcrastinateQueue(app, queue="django")  # before Django is ready, as in an app's tasks.py
host = AuditForward(repository, {"siem": siem}, queue=queue)
django.setup()

from django.db import connection, connections, transaction


def execute(statement: str) -> None:
    """Run a statement as the project's own code does."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


def count(query: str, name: str) -> str:
    """Return how many there are, in words."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        (number,) = cursor.fetchone()
    return f"{number} {name}{'' if number == 1 else 's'}"


def tell(what: str, answer: object, event: AuditEvent) -> None:
    """Print what has come of *event*."""
    jobs = count(f"SELECT count(*) FROM procrastinate_jobs WHERE args ->> 'audit_event_id' = '{event.id}'", "job")
    rows = count(f"SELECT count(*) FROM shop.rows WHERE id = '{event.id}'", "row")
    print(f"{what}: {answer} {jobs}, {rows}")


def write(event: AuditEvent) -> None:
    """Write the row of *event*."""
    execute(f"INSERT INTO shop.rows VALUES ('{event.id}')")


def kind_of(error: EnqueueError) -> str:
    """Return the name of what PostgreSQL said."""
    return type(error.__cause__).__name__


print("dispatched:", host.dispatch(repository.add(make_event()))["siem"].fate)

event = repository.add(make_event())
with transaction.atomic():
    write(event)
    names = queue.enqueue_in(connection, event)
tell("committed", names, event)

event = make_event()
with transaction.atomic():
    write(event)
    names = queue.enqueue_in(connection, event)
    transaction.set_rollback(True)
tell("rolled back", names, event)

event = make_event()
with transaction.atomic():
    write(event)
    execute("SET LOCAL search_path = shop")
    try:
        queue.enqueue_in(connection, event)
    except EnqueueError as error:
        told = kind_of(error)
tell("failed", told, event)

event = make_event()
try:
    queue.enqueue_in(connection, event)
except EnqueueError as error:
    tell("autocommit", kind_of(error), event)

for alias in ("down", "lite"):
    try:
        queue.enqueue_in(connections[alias], event)
    except EnqueueError as error:
        print(f"{alias}: {error}")

with app.replace_connector(app.connector.get_worker_connector()):
    app.run_worker(queues=["django"], wait=False, install_signal_handlers=False, listen_notify=False)
print("run:", len(siem.ids))
host.close()
