"""Makes the secrets of a new installation, each in the folder that only its readers mount. What is there stays.

    make_secrets.py FOLDER NAME:ROLE,NAME:ROLE

``FOLDER`` holds ``airflow`` (for the parts that reach the database), ``shared`` (for those and the workers), ``artifacts`` (for
who reads the artifact store), ``worker``, ``users`` (for the API server), ``postgres`` and ``redis``.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path

from cryptography.fernet import Fernet


def main(folder: Path, users: list[str]) -> None:
    """Make what is missing."""
    postgres = keep(folder / "postgres" / "password", token(), mode=0o444)
    redis = keep(folder / "redis" / "password", token(), mode=0o444)
    keep(folder / "airflow" / "database_url", f"postgresql+psycopg2://airflow:{postgres}@postgres/airflow")
    keep(folder / "airflow" / "fernet_key", Fernet.generate_key().decode())
    keep(folder / "airflow" / "jwt_secret", token())
    keep(folder / "shared" / "api_secret_key", token())
    keep(folder / "shared" / "broker_url", f"redis://:{redis}@redis:6379/0")
    keep(folder / "shared" / "result_backend", f"redis://:{redis}@redis:6379/1")
    keep(folder / "artifacts" / "artifact_key", Fernet.generate_key().decode())
    keep(folder / "worker" / "signing_key", token())
    file = folder / "users" / "passwords.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.touch(mode=0o600)
    file.write_text(json.dumps({**{user: secrets.token_urlsafe(15) for user in users}, **known}))


def keep(file: Path, value: str, mode: int = 0o400) -> str:
    """The content of the file, which is made with ``value`` where there is none."""
    if not file.exists():
        new = file.with_name(f".{file.name}")
        new.touch(mode=0o600)
        new.write_text(value)
        new.chmod(mode)
        new.replace(file)
    return file.read_text()


def token() -> str:
    """A random secret that may stand in a URL."""
    return secrets.token_hex(32)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [user.partition(":")[0] for user in sys.argv[2].split(",")])
