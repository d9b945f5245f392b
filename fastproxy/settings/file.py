"""Read a TOML file and the command line into `Settings`, and collect everything that is wrong.

Keys are case-insensitive as in Traefik 1.7. A problem or warning names the file, the key and the
remedy; a file with one problem yields no settings. `run`, `check` and `lint` all read through here.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from pathlib import Path

from fastproxy.settings import acme as settings_acme
from fastproxy.settings import check as settings_check
from fastproxy.settings import foreign as settings_foreign
from fastproxy.settings import points as settings_points
from fastproxy.settings import web as settings_web
from fastproxy.settings.flags import Given, overlay
from fastproxy.settings.options import Settings
from fastproxy.settings.reader import Reader

COMMAND_LINE = "command line"
NOTHING = Given()
FILE_NAMES = ("fastproxy.toml", "traefik.toml")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct; `sentence` ends with what to do about it."""

    file: str
    key: str
    sentence: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.sentence) if part)


class SettingsError(Exception):
    """The settings cannot be used; carries every problem found."""

    def __init__(self, problems: tuple[Problem, ...], warnings: tuple[Problem, ...] = ()) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
        self.warnings = warnings


@dataclass(frozen=True, slots=True)
class Loaded:
    settings: Settings
    warnings: tuple[Problem, ...] = ()


def find_file(home: str | None = None) -> Path | None:
    """Return the file Traefik 1.7 would read: `/etc/traefik`, `$HOME/.traefik`, `.`.

    In each directory `fastproxy.toml` comes first; so does `/etc/fastproxy` before the others.
    """
    home = os.environ.get("HOME", "") if home is None else home
    directories = [Path("/etc/fastproxy"), Path("/etc/traefik")]
    if home:
        directories.append(Path(home) / ".traefik")
    return _first_in(*directories, Path())


def _first_in(*directories: Path) -> Path | None:
    candidates = (directory / name for directory in directories for name in FILE_NAMES)
    return next((path for path in candidates if path.is_file()), None)


def file_of(given: Given) -> Path | None:
    """Return the settings file of a command line; `--configfile` may name its directory."""
    if not given.file:
        return find_file()
    path = Path(given.file)
    return _first_in(path) or path if path.is_dir() else path


def load(path: Path | None, given: Given = NOTHING) -> Loaded:
    """Read `path` and the files it names, or the defaults when it is None, with what the command
    line gives laid over; raises SettingsError."""
    if path is None:
        return _read("", "(defaults)", given, files=True)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        sentence = f"cannot be read ({error.strerror}); correct the path or its permissions"
        raise SettingsError((Problem(str(path), "", sentence),)) from error
    except UnicodeDecodeError as error:
        sentence = f"is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        raise SettingsError((Problem(str(path), "", sentence),)) from error
    return _read(text, str(path), given, files=True)


def parse(text: str, file: str, given: Given = NOTHING) -> Loaded:
    """Read the text of a settings file, but no file that it names; raises SettingsError with all
    problems."""
    return _read(text, file, given, files=False)


def _read(text: str, file: str, given: Given, *, files: bool) -> Loaded:
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        sentence = f'is not TOML: {error}; texts and durations need quotes, as in "10s"'
        raise SettingsError((Problem(file, "", sentence),)) from error
    document = overlay(document, given.document)
    keys = frozenset(key.lower() for key in document)
    document, problems, warnings = settings_foreign.without(document)
    reader = Reader()
    settings = reader.table(Settings, document, "")
    problems += reader.problems
    warnings += reader.warnings
    if not reader.problems:
        with_web = settings.web is not None
        settings, more = settings_check.resolve(settings, keys)
        warnings += more
        found = list(settings_check.problems(settings))
        if files:
            found += settings_points.unreadable(settings)
            settings, refused, told = settings_acme.resolve(settings)
            found += refused
            warnings += told
        problems += _as_written(found) if with_web else found
    place = partial(_place, file, given)
    if problems:
        raise SettingsError(tuple(starmap(place, problems)), tuple(starmap(place, warnings)))
    return Loaded(settings, tuple(starmap(place, warnings)))


def _place(file: str, given: Given, key: str, sentence: str) -> Problem:
    return Problem(COMMAND_LINE if given.says(key) else file, key, sentence)


def _as_written(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Name the option of `[web]` that an entry point's was made from."""
    made = f"entryPoints.{settings_web.POINT}."
    return [
        (f"web.{key.removeprefix(made)}" if key.startswith(made) else key, sentence)
        for key, sentence in found
    ]
