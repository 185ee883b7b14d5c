"""Database URLs: any driver's spelling in, each driver's spelling out."""

from __future__ import annotations

import re
from typing import Final

from uno_jobs.errors import ConfigurationError

_SCHEME: Final = re.compile(r"^(postgres|postgresql)(\+[a-z0-9_]+)?://", re.IGNORECASE)


def plain_url(url: str) -> str:
    """Return a URL as PostgreSQL's own tools and asyncpg read it: ``postgresql://…``, without a driver.

    Several hosts, which SQLAlchemy writes as ``?host=one:5432&host=two:5432``, become ``?host=one:5432,two:5432``.

    Raises:
        ConfigurationError: It is not a PostgreSQL URL.
    """
    if not _SCHEME.match(url):
        shown = url.split("://", 1)[0][:20]
        raise ConfigurationError(f"a database URL begins with postgresql:// (or postgresql+driver://), not {shown!r}")
    base, mark, query = _SCHEME.sub("postgresql://", url, count=1).partition("?")
    parts = query.split("&")
    hosts = [part.partition("=")[2] for part in parts if part.startswith("host=")]
    if len(hosts) > 1:
        rest = [part for part in parts if not part.startswith("host=")]
        query = "&".join([f"host={','.join(hosts)}", *rest])
    return base + mark + query


def sqlalchemy_url(url: str, driver: str) -> str:
    """Return a URL for SQLAlchemy with the given driver, such as ``asyncpg`` or ``psycopg``."""
    return _SCHEME.sub(f"postgresql+{driver}://", plain_url(url), count=1)


def hide_password(url: str) -> str:
    """Return a URL that may be shown: a password in it is replaced by ``***``."""
    # To the last @: a password may hold what should have been percent-encoded.
    url = re.sub(r"(://[^:/@?#]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&](?:ssl)?password=)[^&]*", r"\1***", url)
