"""TOML file -> frozen, strict pydantic model -> command-line overrides by tyro.

The file is validated as JSON: strict validation of Python objects rejects TOML's lists for tuples, and the same code reads the saved
``config.json`` of a run. Every error message is one sentence with the source, the dotted key and, if one is near, the right name.
"""

import contextlib
import difflib
import io
import json
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gconv_gan.config.base import Config
from gconv_gan.config.describe import command_help, config_help, describe
from gconv_gan.config.describe import kind_of as _kind
from gconv_gan.config.describe import members as _members
from gconv_gan.config.earlier import translated
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import WAYS, did_you_mean, nearest_key
from gconv_gan.config.plugins import load_plugins, require_loaded, take_plugins
from gconv_gan.config.schema import PartConfig, resolved
from gconv_gan.config.sorts import other_sort
from gconv_gan.verbs import CONSOLE_SCRIPT

Model = TypeVar("Model", bound=Config)
PLUGINS = "plugins.json"
"""File beside a saved config: plug-in -> SHA-256 of its file."""


def load_config(model: type[Model], path: str | Path, overrides: Sequence[str] = ()) -> Model:
    """Return a TOML (or a saved JSON) file as ``model``, with command-line ``overrides`` such as ``--generator.width 64`` applied.

    A key ``name`` that the file does not set becomes the file's stem. ``--help`` prints every key with the file's values and exits,
    ``--help generator.conv`` every kind of a section with its keys. Plug-ins, ``--plugins mine.py`` or ``plugins`` of a TOML file, are
    imported first; a saved config imports none, and the error names those that it needs.

    Raises:
        UserError: missing or malformed file, config of another command, unknown or mistyped key or flag, value out of range.

    """
    data = read_file(Path(path))
    named, overrides = take_plugins(overrides)
    data = with_plugins(data, named, Path(path))
    sort = other_sort(model, data)
    if sort is not None:
        raise UserError(f"{path} is {sort.file}")
    if "name" in model.model_fields:
        data.setdefault("name", Path(path).stem)
    if (section := _asked_section(overrides)) is not None:
        print(describe(model, section))
        sys.exit(0)
    return apply_overrides(validated(model, data, str(path)), overrides)


def with_plugins(data: dict[str, Any], named: Sequence[str], path: Path) -> dict[str, Any]:
    """Import the plug-ins that the user names, and those of a TOML file; return the config's data with all of them.

    Args:
        data: content of a config.
        named: the plug-ins of the command line.
        path: the config. One that a run has saved, ``.json``, imports nothing: its plug-ins have to be among those named.

    Raises:
        UserError: a plug-in cannot be imported, or one of a saved config is not named.

    """
    load_plugins(named)
    known = data.get("plugins", [])
    if not isinstance(known, list) or not all(isinstance(name, str) for name in known):
        raise UserError(f'{path}: plugins is a list of files and modules, such as ["mine.py"]')
    if path.suffix == ".json":
        hashes = path.parent / PLUGINS
        found = require_loaded(known, json.loads(hashes.read_text()) if hashes.is_file() else {}, path)
        return data | {"plugins": found} if found else data
    load_plugins(known)
    names = list(dict.fromkeys([*known, *named]))
    return data | {"plugins": names} if names else data


def _asked_section(arguments: Sequence[str]) -> str | None:
    """Return the section of ``--help SECTION``; None without it."""
    for flag, section in zip(arguments, arguments[1:], strict=False):
        if flag in ("-h", "--help") and not section.startswith("-"):
            return section
    return None


def read_file(path: Path) -> dict[str, Any]:
    """Return the content of a TOML or JSON file; raise ``UserError`` if it is missing or malformed."""
    if path.is_dir():
        saved = path / "config.json"
        raise UserError(f"{path} is a folder, not a config file; " + (f"give {saved}" if saved.is_file() else "give a .toml file"))
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.toml")], n=1) if path.parent.is_dir() else []
        raise UserError(f"config file {path} does not exist" + (f"; did you mean {path.parent / near[0]}?" if near else ""))
    if path.suffix not in (".toml", ".json"):
        raise UserError(f"{path}: a config is a TOML file (NAME.toml), or the config.json of a run; write its keys as TOML")
    try:
        text = path.read_text()
        data: dict[str, Any] = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise UserError(f"{path} is not valid {path.suffix.lstrip('.').upper()}: {error}") from error
    return data


def validated(model: type[Model], data: dict[str, Any], source: str) -> Model:
    """Return ``data`` as a ``model``; raise ``UserError`` naming ``source`` and the first wrong key."""
    model = resolved(model)
    try:
        return model.model_validate_json(json.dumps(translated(model, data), default=str))
    except ValidationError as error:
        # a misspelt required key is also a missing one: report the misspelling
        first = min(error.errors(include_url=False), key=lambda details: details["type"] != "extra_forbidden")
        raise UserError(f"{source}: {_sentence(model, first)}") from error


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a config with nested ``changes``; a part that names another ``kind`` is replaced as a whole."""
    result = dict(base)
    for name, value in changes.items():
        old = result.get(name)
        same = isinstance(old, Mapping) and isinstance(value, Mapping) and value.get("kind", old.get("kind")) == old.get("kind")
        result[name] = merged(old, value) if same and isinstance(old, Mapping) else value
    return result


def _keys(model: type[Config], prefix: str = "") -> list[str]:
    """Return the dotted keys of ``model`` and of all kinds of its parts."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        members = _members(field)
        found += [f"{prefix}{name}"] if not members else []
        for member in members:
            found += _keys(member, f"{prefix}{name}.")
    return list(dict.fromkeys(found))


def _kinds_with(members: Sequence[type[Config]], name: str) -> str:
    """Return the kinds among ``members`` that have the field ``name``, joined by "or"."""
    return " or ".join(str(_kind(member)) for member in members if name in member.model_fields)


def _sentence(model: type[Config], error: ErrorDetails) -> str:
    """Return a pydantic error as a sentence, without the tag of a union in its location, which the user did not type."""
    keys: list[str] = []
    here: type[Config] | None = model
    members: list[type[Config]] = []
    siblings: list[type[Config]] = []
    for part in error["loc"]:
        tagged = [m for m in members if len(members) > 1 and _kind(m) == part]
        if tagged:
            here, siblings, members = tagged[0], members, []
            continue
        keys.append(str(part))
        if isinstance(part, int):  # an entry of a list of parts
            here = members[0] if len(members) == 1 else None
            continue
        field = here.model_fields.get(str(part)) if here else None
        siblings = [] if field else siblings
        members = _members(field) if field else []
        if error["type"] != "extra_forbidden" or field:
            here = members[0] if len(members) == 1 else here if not members else None
    key, text, value = ".".join(keys), error["msg"], error.get("input")
    if error["type"] == "extra_forbidden":
        if here and (kinds := _kinds_with(siblings, keys[-1])):
            part = ".".join(keys[:-1])
            return f"key '{key}' belongs to kind {kinds}, but {part}.kind = '{_kind(here)}'; set that kind, or leave the key out"
        known = list(here.model_fields) if here else []
        near = nearest_key(keys[-1], known) or (nearest_key(key, _keys(model)) if len(keys) == 1 else None)
        way = WAYS.get(keys[-1])
        hint = f"did you mean '{near}'?" if near else way if way else f"known keys: {', '.join(known)}"
        return f"unknown key '{key}'; {hint}"
    if error["type"] == "missing":
        return f"key '{key}' is required"
    if error["type"] in ("union_tag_invalid", "literal_error"):
        expected = str((error.get("ctx") or {}).get("expected_tags") or (error.get("ctx") or {}).get("expected"))
        tag = (error.get("ctx") or {}).get("tag", value)
        key += ".kind" if error["type"] == "union_tag_invalid" else ""
        words = re.findall(r"\w+", expected)
        return f"{key} = '{tag}' is not among {expected}{did_you_mean(str(tag), words)}"
    if error["type"] == "union_tag_not_found":
        return f"key '{key}.kind' is required"
    text = text.removeprefix("Value error, ")
    return f"{key}: {text}, got {value!r}" if key and not isinstance(value, dict) else f"{key}: {text}" if key else text


def apply_overrides(config: Model, arguments: Sequence[str]) -> Model:
    """Return ``config`` with flags such as ``--trainer.batch-size 32`` or ``--generator.conv.kind gconv`` applied.

    A union's ``kind`` is applied first: the new member keeps every field that it shares with the old one; its other required fields
    must be given by flags.

    Raises:
        UserError: a flag is unknown, or its value is wrong or not valid UTF-8.

    """
    _require_utf8(arguments)
    kinds, rest = _take_kinds(type(config), list(arguments))
    default: Any = config
    for keys, kind in kinds:
        default = _with_kind(default, keys, kind, ".".join(keys))
    if asks_for_help(rest):
        print(config_help(default, typed()))
        sys.exit(0)
    result = _tyro(type(config), rest, default) if arguments else config  # tyro takes longer to start than a file to be read
    # validated again as a whole: tyro validates each model separately
    return validated(type(config), json.loads(result.model_dump_json()), "command line")


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for help."""
    return not {"-h", "--help"}.isdisjoint(arguments)


def parse_command(model: type[Model], arguments: Sequence[str], *, start: Model | None = None, chosen: str = "") -> Model:
    """Return a command line without a config file as ``model``. Plug-ins, ``--plugins mine.py``, are imported first.

    Args:
        model: the options of the command.
        arguments: its command line. A boolean that is false by default is a bare flag, such as ``--mark``.
        start: values of options that are left out, where they are not the model's defaults (``tyro.MISSING``: required); a boolean then
            takes a value, ``--download false``, as keys of a config do.
        chosen: words of the command line between the program and its options, for its help.

    Raises:
        UserError: a flag is unknown, or its value is wrong or not valid UTF-8.

    """
    _require_utf8(arguments)
    named, rest = take_plugins(arguments)
    load_plugins(named)
    if asks_for_help(rest):
        print(command_help(model, f"{typed()} {chosen}".strip(), start=start))
        sys.exit(0)
    flags = tyro.conf.FlagCreatePairsOff if start is None else tyro.conf.FlagConversionOff
    result: Model = _tyro(resolved(model), rest, start, flags=flags)
    return result


def _require_utf8(arguments: Sequence[str]) -> None:
    for argument in arguments:
        if any("\udc80" <= character <= "\udcff" for character in argument):
            named = argument.encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise UserError(f"command line: {named} is not valid UTF-8; rename the file or folder")


def flags_of(model: type[Config]) -> list[str]:
    """Return the options of a command or the keys of a config as flags, sorted; positional arguments are none."""
    model = resolved(model)
    flags = [f"--{key.replace('_', '-')}" for key in _keys(model)]
    for name, field in model.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if tyro.conf.Positional in field.metadata:
            flags.remove(flag)
        elif renamed := [found for mark in field.metadata if (found := getattr(mark, "name", None))]:
            flags[flags.index(flag)] = f"--{renamed[0]}"
    return sorted(flags)


BOOLEANS = {"true": True, "false": False, "True": True, "False": False}
REGISTRY = tyro.constructors.ConstructorRegistry()


@REGISTRY.primitive_rule
def _boolean(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[bool] | None:
    """Accept ``true`` as in TOML, and ``True`` as in Python."""
    if info.type is not bool:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="{true,false}",
        instance_from_str=lambda words: BOOLEANS[words[0]],
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda value: [str(value).lower()],
        choices=tuple(BOOLEANS),
    )


@REGISTRY.primitive_rule
def _none(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[None] | None:
    """Accept ``none``, as the help and the documentation of keys write it, and ``None`` as in Python."""
    if info.type is not type(None):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="none",
        instance_from_str=lambda words: None,
        is_instance=lambda value: value is None,
        str_from_instance=lambda value: ["none"],
        choices=("none", "None"),
    )


def program() -> str:
    """Return the program's name on the command line: ``gconv-gan VERB``, ``python -m NAME`` for a module, the path of a script."""
    if sys.argv[0] == CONSOLE_SCRIPT:
        return " ".join(sys.argv[:2])
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name}" if spec else sys.argv[0]


def typed() -> str:
    """Return how the user starts the program: its name, behind "python" if that is a file."""
    return f"python {program()}" if program().endswith(".py") else program()


def _tyro(model: type[Config], arguments: list[str], default: Any, *, flags: Any = tyro.conf.FlagConversionOff) -> Any:
    markers = (tyro.conf.AvoidSubcommands, flags)
    given = {} if default is None else {"default": default}
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return tyro.cli(model, prog=program(), args=arguments, config=markers, registry=REGISTRY, **given)
    except SystemExit:
        raise UserError(f"command line: {_from_box(captured.getvalue(), model, default)}") from None


def _take_kinds(model: type[Config], arguments: list[str]) -> tuple[list[tuple[list[str], str]], list[str]]:
    """Split off ``--X.kind VALUE`` and ``--X.kind=VALUE``, outermost first, entries of a list in their order."""
    kinds: list[tuple[list[str], str]] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        flag, equals, value = argument.partition("=")
        if not (flag.startswith("--") and flag.endswith(".kind")):
            rest.append(argument)
            continue
        if not equals:
            value = next(waiting, "")
        if not value or value.startswith("--"):
            raise UserError(f"command line: {flag} needs a value")
        kinds.append((flag[2:].removesuffix(".kind").replace("-", "_").split("."), value))
    return sorted(kinds, key=lambda item: (len(item[0]), [word.zfill(4) for word in item[0]])), rest


def _with_kind(config: Config, keys: list[str], kind: str, dotted: str) -> Config:
    """Return ``config`` with the union at ``keys`` switched to the member ``kind``."""
    name = keys[0]
    field = type(config).model_fields.get(name)
    members = _members(field) if field else []
    if not members:
        near = did_you_mean(name, [n for n, f in type(config).model_fields.items() if _members(f)])
        raise UserError(f"command line: --{dotted}.kind names no part of the config{near}")
    old = getattr(config, name)
    if isinstance(old, tuple):
        new: Any = _with_kind_in_list(old, keys, kind, dotted, members)
    elif len(keys) > 1:
        new = _with_kind(old, keys[1:], kind, dotted)
    else:
        new = _of_kind(old, kind, dotted, members)
    return type(config).model_construct(**{**{n: getattr(config, n) for n in type(config).model_fields}, name: new})


def _of_kind(old: Config, kind: str, dotted: str, members: Sequence[type[Config]]) -> Config:
    chosen = [m for m in members if _kind(m) == kind]
    if not chosen:
        names = [str(_kind(m)) for m in members]
        raise UserError(f"command line: --{dotted}.kind '{kind}' is not among {', '.join(names)}{did_you_mean(kind, names)}")
    return old if type(old) is chosen[0] else _converted(old, chosen[0])


def _with_kind_in_list(old: tuple[Any, ...], keys: list[str], kind: str, dotted: str, members: Sequence[type[Config]]) -> tuple[Any, ...]:
    """Return a list of parts with the entry at ``keys[1]``, or a part of it, switched; the number after the last adds an entry."""
    name, number, *inner = [*keys, ""] if len(keys) == 1 else keys
    if not (number.isdigit() and int(number) < len(old) + (not inner)):
        raise UserError(f"command line: --{dotted}.kind: {name} has {len(old)} entries, numbered from 0; --{name}.{len(old)}.kind adds one")
    entry = old[int(number)] if int(number) < len(old) else PartConfig()
    new = _with_kind(entry, inner, kind, dotted) if inner else _of_kind(entry, kind, dotted, members)
    return (*old[: int(number)], new, *old[int(number) + 1 :])


def _converted(old: Config, member: type[Config]) -> Config:
    values: dict[str, Any] = {}
    for name, field in member.model_fields.items():
        inherited = name != "kind" and name in old.model_fields_set and _admits(member, name, getattr(old, name))
        if inherited:
            values[name] = getattr(old, name)
        elif field.is_required():
            values[name] = tyro.MISSING
        else:
            values[name] = field.get_default(call_default_factory=True)
    return member.model_construct(**values)


def _admits(member: type[Config], name: str, value: object) -> bool:
    """Return whether ``value`` is valid for the field ``name`` of ``member`` (a split of one data set may be unknown to another)."""
    try:
        member.__pydantic_validator__.validate_assignment(member.model_construct(), name, value)
    except ValidationError as error:
        return not any(details["loc"][:1] == (name,) for details in error.errors())
    return True


def _from_box(printed: str, model: type[Config], config: object) -> str:
    """Return tyro's framed message as one sentence: its first paragraph, and the nearest flag if it suggests one."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip("│|╭╰╮╯ ") for line in printed.splitlines()[1:]]  # without the title
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if re.search(r"[─-]{5}", line) or not line:  # a frame or a rule ends a paragraph
            paragraphs.append([])
        else:
            paragraphs[-1].append(line)
    body = [" ".join(paragraph) for paragraph in paragraphs if paragraph]
    text = body[0] if body else printed.strip()
    if unknown := re.match(r"Unrecognized options: (--\S+?),? ", text + " "):
        return _of_another_kind(config, unknown.group(1)) or _unknown_option(unknown.group(1), model, config)
    return _broken_value(text) or _no_choice(text) or _missing(body, text) or text.removeprefix("Error parsing ")


def _unknown_option(flag: str, model: type[Config], config: object) -> str:
    """Return the message for an unknown flag, with the nearest flag or the corresponding usage."""
    key = flag.removeprefix("--").replace("-", "_")
    known = _keys_of(config) if isinstance(config, Config) else _keys(model)
    if way := WAYS.get(key.rpartition(".")[2]):
        return f"unknown option {flag}; {way}"
    near = nearest_key(key, known)
    flags = " or ".join(f"--{name.replace('_', '-')}" for name in near.split(" or ")) if near else ""
    return f"unknown option {flag}; " + (f"did you mean {flags}?" if near else "--help lists the options")


def _keys_of(config: Config, prefix: str = "") -> list[str]:
    """Return the dotted keys of ``config`` and of its parts."""
    found: list[str] = []
    for name in type(config).model_fields:
        value = getattr(config, name)
        found += _keys_of(value, f"{prefix}{name}.") if isinstance(value, Config) else [f"{prefix}{name}"]
    return found


def _of_another_kind(config: object, flag: str) -> str | None:
    """Return the message for a flag that belongs to another kind of the named part; None otherwise."""
    *path, name = flag.removeprefix("--").replace("-", "_").split(".")
    members: list[type[Config]] = []
    for part in path:
        field = type(config).model_fields.get(part) if isinstance(config, Config) else None
        if field is None:
            return None
        config, members = getattr(config, part), _members(field)
    kinds = _kinds_with(members, name)
    if not kinds or not isinstance(config, Config):
        return None
    flag_of_kind = f"--{'.'.join(path).replace('_', '-')}.kind"
    return f"{flag} belongs to {flag_of_kind} {kinds}, but the kind is {_kind(type(config))}; give that kind, too, or leave the flag out"


def _broken_value(text: str) -> str | None:
    """Return the sentence for a value rejected by pydantic."""
    broken = re.match(r"Error parsing (\S+): \d+ validation errors? for (\w+) (.*?) \[type=\w+, input_value=(.*?), input_type", text)
    if broken is None:
        return None
    part, model, message, value = broken.groups()
    if message.startswith("Value error, "):
        message = message.removeprefix("Value error, ")
        return message if part == model else f"{part}: {message}"  # the whole config has no key
    key, _, message = message.partition(" ")
    flag = key if part == model else f"{part}.{key}"
    return f"--{flag.replace('_', '-')}: {message.removeprefix('Value error, ')}, got {value}"


NOT_A_NUMBER = {"invalid literal for int() with base 10": "a whole number", "could not convert string to float": "a number"}
WORDS = {"INT": "a whole number", "FLOAT": "a number", "STR": "a text"}


def _no_choice(text: str) -> str | None:
    """Return the sentence for a value that is not among the admitted ones."""
    if choice := re.match(r"invalid choice '(.*?)' for argument '(\S+)'\. Expected one of \((.*)\)", text):
        value, flag, listed = choice.groups()
        names = [name for name in re.findall(r"'([^']+)'", listed) if name not in ("none", "None", "True", "False")]
        return f"{flag}: '{value}' is not among {', '.join(names)}{did_you_mean(value, names)}"
    if number := re.match(r"Error parsing (\S+): (.*): '(.*)'$", text):
        flag, refusal, value = number.groups()
        if refusal in NOT_A_NUMBER:
            return f"{flag}: '{value}' is not {NOT_A_NUMBER[refusal]}"
    if unread := re.match(r"Error parsing (\S+): Could not find valid parse for arguments: \['?(.*?)'?\]$", text):
        return f"{unread.group(1)}: '{unread.group(2)}' cannot be read; --help says what it takes"
    if mismatch := re.match(r"Error parsing (\S+): no type matching (\S+) could be instantiated from \['?(.*?)'?\]", text):
        flag, listed, value = mismatch.groups()
        kinds = [WORDS.get(kind, kind.strip("{}").replace(",", " or ")) for kind in listed.split("|") if kind != "none"]
        return f"{flag}: '{value}' is not {' or '.join(kinds)}"
    return None


def _missing(body: list[str], text: str) -> str | None:
    """Return the sentence for a missing required argument."""
    if "required" not in text:
        return None
    flags = dict.fromkeys(flag for flag in re.findall(r"--[\w.-]+", " ".join(body)) if flag != "--help")
    if flags:
        return f"{' and '.join(flags)} must be given"
    positional = re.match(r"Missing from .*?: [\w{}|\[\] .]*?([A-Z]{3,}\S*) (.*?)\.? \(required\)", text)
    return f"{positional.group(1)} is missing: {positional.group(2)}" if positional else None
