"""A host that writes audit rows: it commits late, rolls back, and sets savepoints. It prints what it has committed."""

from __future__ import annotations

import sys
from random import Random
from time import sleep
from uuid import UUID

from sqlalchemy import insert

from tests.proof.support_setting import Setting, audit_events, row


def main() -> None:
    """Commit as many rows as told, with a random of its own."""
    setting, goal, seed = Setting.read(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    random = Random(seed)
    engine = setting.engine(connect_args={"timeout": 60} if setting.url.startswith("sqlite") else {})
    latest = 0.002 if setting.url.startswith("sqlite") else 0.03  # SQLite has one writer at a time
    done = 0
    with engine.connect() as connection:
        while done < goal:
            written = []
            outer = connection.begin()
            for part in range(min(random.randint(1, 3), goal - done)):
                savepoint = connection.begin_nested() if part else None
                name = str(UUID(int=random.getrandbits(128)))
                connection.execute(insert(audit_events).values(row(name, done)))
                sleep(random.random() * latest)
                if savepoint is not None and random.random() < 0.3:
                    savepoint.rollback()
                else:
                    written.append(name)
            if random.random() < 0.15:
                outer.rollback()
                continue
            outer.commit()
            done += len(written)
            print(*written, sep="\n", flush=True)


if __name__ == "__main__":
    main()
