"""Help on config files: every section, the kinds of a section, and the keys of a kind."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import tyro
from pydantic.fields import FieldInfo

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.help_page import HELP, PLUGINS, Argument, Group, group_lines, help_page
from gconv_gan.config.hints import did_you_mean
from gconv_gan.config.schema import Table, resolved


@dataclass(frozen=True)
class Key:
    """A key of a section: name, admitted values, default in TOML notation (None: it is required), help."""

    name: str
    admits: str
    default: str | None
    help: str


def members(field: FieldInfo) -> list[type[Config]]:
    """Return the config models of a field: one, the members of a union, or those of a list of parts."""
    return list(_models(field.annotation))


def _models(annotation: Any) -> Iterator[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from _models(get_args(annotation)[0])
    else:
        for argument in get_args(annotation):
            yield from _models(argument)


def kind_of(model: type[Config]) -> str | None:
    """Return the kind of a model; None for a section without kinds."""
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def keys_of(model: type[Config]) -> list[Key]:
    """Return the keys of a section, without sub-sections and without its kind."""
    schema = model.model_json_schema()["properties"]
    return [
        Key(name, _admitted(schema[name]), _written(field), field.description or getattr(_argument(field), "help", None) or "")
        for name, field in model.model_fields.items()
        if name != "kind" and not members(field)
    ]


def sections_of(model: type[Config]) -> dict[str, list[type[Config]]]:
    """Return the sections within a section, with the models of each."""
    return {name: found for name, field in model.model_fields.items() if (found := members(field))}


def _written(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    return _shown(field.get_default(call_default_factory=True))


def _admitted(schema: dict[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return ", ".join(str(value) for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(_admitted(option) for option in schema["anyOf"])
    match schema.get("type"):
        case "array":
            items = [_admitted(item) for item in schema.get("prefixItems", [])]
            if len(set(items)) > 1:
                return f"[{', '.join(items)}]"
            return f"{len(items)} of: {items[0]}" if items else f"any number of: {_admitted(schema.get('items', {}))}"
        case "integer" | "number":
            bounds = (("exclusiveMinimum", "above"), ("minimum", "at least"), ("exclusiveMaximum", "below"), ("maximum", "at most"))
            limits = [f"{words} {schema[name]}" for name, words in bounds if name in schema]
            return " ".join(["whole number" if schema["type"] == "integer" else "number", ", ".join(limits)]).strip()
        case "boolean":
            return "true or false"
        case "null":
            return "none"
    return "text"


def describe(model: type[Config], dotted: str) -> str:
    """Return the help on the section at ``dotted``: on every kind, or on the kind that is its last word.

    Raises:
        UserError: there is no such section or kind.

    """
    here: list[type[Config]] = [resolved(model)]
    path: list[str] = []
    for word in dotted.replace("-", "_").split("."):
        chosen = [member for member in here if kind_of(member) == word] if len(here) > 1 else []
        if chosen:
            here = chosen
            continue
        found = [sections_of(member)[word] for member in here if word in sections_of(member)]
        if not found:
            known = [*(kind for member in here if len(here) > 1 and (kind := kind_of(member))), *(n for m in here for n in sections_of(m))]
            place = ".".join(path) or "the config"
            raise UserError(f"--help {dotted}: {place} has no section or kind '{word}'{did_you_mean(word, known)}")
        here = found[0]
        path.append(word)
    place = ".".join(path)
    return "\n\n".join(_text(member, place) for member in here)


def _text(model: type[Config], place: str) -> str:
    """Return a kind as text: its first line, then its keys as flags, then the sections within it."""
    kind = kind_of(model)
    title = f"{place}.kind = {kind}" if kind else place
    lines = group_lines(
        Group(title, [_as_argument(key, f"{place}.") for key in keys_of(model)], _first_line(model) if model.__doc__ else "")
    )
    lines += [f"  section {place}.{name}: {_kinds(found)}" for name, found in sections_of(model).items()]
    return "\n".join(lines)


def _as_argument(key: Key, prefix: str = "", *, default: str | None = None) -> Argument:
    """Return a key as the flag that sets it, with its own default or another."""
    return Argument(f"--{f'{prefix}{key.name}'.replace('_', '-')}", key.help, key.admits, _as_typed(default or key.default))


def _as_typed(default: str | None) -> str:
    """Return a default in TOML notation as it would be typed behind its flag."""
    if default is None:
        return "required"
    if default == "none":
        return default
    value = json.loads(default)
    words = value if isinstance(value, list) else [value]
    return " ".join(word if isinstance(word, str) else json.dumps(word) for word in words) or "none"


def command_help(model: type[Config], program: str, *, start: Config | None = None) -> str:
    """Return the help of a command: usage in one line, positional arguments, options.

    Args:
        model: its options.
        program: what is typed before them.
        start: values of options that are left out, where they are not the model's; a boolean then takes a value.

    """
    model = resolved(model)
    positional, options, required = [], [], []
    for key in keys_of(model):
        field = model.model_fields[key.name]
        mark = _argument(field)
        metavar = getattr(mark, "metavar", None)
        if tyro.conf.Positional in field.metadata:
            positional.append(
                Argument(_flag(key, field), key.help, default=_as_typed(key.default) if key.default not in (None, "none", "[]") else None)
            )
            continue
        value = key.default if start is None else _shown(getattr(start, key.name))
        bare = start is None and key.admits == "true or false" and tyro.conf.FlagConversionOff not in field.metadata
        admits = "" if bare else metavar or key.admits
        aliases = "".join(f", {alias}" for alias in getattr(mark, "aliases", None) or ())
        options.append(Argument(f"{_flag(key, field)}{aliases}", key.help, admits, None if bare else _as_typed(value)))
        required += [f"{_flag(key, field)} {metavar or key.name.upper()}"] if value is None else []
    usage = " ".join([program, *(row.typed for row in positional), *required, "[options]"])
    groups = [Group("arguments", positional)] if positional else []
    return help_page(usage, " ".join((model.__doc__ or "").split()), [*groups, Group("options", [*options, PLUGINS, HELP])])


def config_help(config: Config, program: str) -> str:
    """Return the help behind a config file: the keys of every section with the values of ``config``, then the kinds of all sections."""
    usage = f"{program} CONFIG [--KEY VALUE ...] [--dry-run]"
    groups = list(_groups(config, ""))
    return help_page(usage, _first_line(type(config)), groups, end=choices(type(config)))


def _groups(config: Config, place: str) -> Iterator[Group]:
    """Yield the keys of a config and of the sections within it."""
    model, kind = type(config), kind_of(type(config))
    rows = [_as_argument(key, f"{place}." if place else "", default=_shown(getattr(config, key.name))) for key in keys_of(model)]
    title = f"{place}.kind = {kind}" if kind else place
    yield Group(title, rows, _first_line(model)) if place else Group("options", rows)
    for name in sections_of(model):
        value = getattr(config, name)
        parts = enumerate(value) if isinstance(value, tuple) else [("", value)]
        for number, part in parts:
            if isinstance(part, Config):
                yield from _groups(part, ".".join(word for word in (place, name, str(number)) if word))


def _shown(value: object) -> str | None:
    """Return a value in TOML notation; None if it has to be given."""
    if value is tyro.MISSING:
        return None
    return "none" if value is None else json.dumps(value)


def _kinds(found: Sequence[type[Config]]) -> str:
    kinds = [kind for member in found if (kind := kind_of(member))]
    return f"kind {{{','.join(kinds)}}}" if kinds else "keys"


def choices(model: type[Config]) -> str:
    """Return the sections with kinds, and their kinds, as lines of help."""
    lines = ["kinds (keys of each: --help SECTION or --help SECTION.KIND):"]
    lines += [f"  --{place.replace('_', '-')}.kind {_kinds(found).removeprefix('kind ')}" for place, found in _choices(resolved(model), "")]
    return "\n".join(dict.fromkeys(lines))


def _choices(model: type[Config], place: str) -> Iterator[tuple[str, list[type[Config]]]]:
    for name, found in sections_of(model).items():
        here = f"{place}.{name}".lstrip(".")
        if kind_of(found[0]):
            yield here, found
        seen: set[str] = set()
        for member in found:
            for inner, options in _choices(member, here):
                if inner not in seen:
                    seen.add(inner)
                    yield inner, options


def markdown(runs: Mapping[str, type[Config]], tables: Mapping[str, Table]) -> str:
    """Return a Markdown page of all sections, kinds and keys of config files.

    Args:
        runs: title -> model of a whole config file.
        tables: name -> table of parts.

    """
    lines = [
        "# Keys of config files",
        "",
        "Generated from the parts; `tests/config/test_docs.py` checks and regenerates this page. A section is written in a TOML file as",
        '`[generator.conv]` with `kind = "gconv"`, and on the command line as `--generator.conv.kind gconv`.',
    ]
    places: dict[str, list[str]] = {}
    for title, model in runs.items():
        lines += ["", f"## {title}"]
        for place, section in _plain_sections(resolved(model), ""):
            lines += ["", f"### {f'`[{place}]`' if place else 'The file itself'}", "", _first_line(section), *_table_of(section)]
        for place, found in _choices(resolved(model), ""):
            owner = getattr(found[0], "table", "")
            places.setdefault(owner, []).append(f"`[{place}]`")
    for name, table in tables.items():
        lines += ["", f"## {name}"]
        if name in places:
            lines += ["", f"Chosen in {', '.join(dict.fromkeys(places[name]))}."]
        for kind, model in table.models().items():
            lines += ["", f"### `{kind}`", "", _first_line(model), *_table_of(model)]
    return "\n".join(lines) + "\n"


def options_page(commands: Mapping[str, type[Config]]) -> str:
    """Return the options of commands in Markdown, a section for each.

    Args:
        commands: how a command is called -> model of its options.

    """
    lines: list[str] = []
    for call, model in commands.items():
        fields = resolved(model).model_fields
        rows = (f"| `{_flag(key, fields[key.name], ' or ')}` | {_values_of(key)} |" for key in keys_of(resolved(model)))
        lines += ["", f"### `{call}`", "", _first_line(model), "", "| option | admits | default | |", "|---|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _flag(key: Key, field: FieldInfo, either: str = "|") -> str:
    """Return the option of a key as it is typed: a flag, or the name of a positional argument, with ``either`` between two."""
    mark = _argument(field)
    if tyro.conf.Positional in field.metadata:
        return str(getattr(mark, "metavar", None) or key.name.upper()).replace("|", either)
    return f"--{getattr(mark, 'name', None) or key.name.replace('_', '-')}"


def _argument(field: FieldInfo) -> object:
    """Return the name, placeholder and help that a command's field declares for its command line; None without them."""
    return next((mark for mark in field.metadata if hasattr(mark, "metavar")), None)


def _plain_sections(model: type[Config], place: str) -> Iterator[tuple[str, type[Config]]]:
    """Yield the sections without kinds, with their places."""
    yield place, model
    for name, found in sections_of(model).items():
        if kind_of(found[0]) is None:
            yield from _plain_sections(found[0], f"{place}.{name}".lstrip("."))


def _first_line(model: type[Config]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _table_of(model: type[Config]) -> Iterator[str]:
    """Yield the keys of a section as a Markdown table, and the sections within it."""
    keys = keys_of(model)
    if keys:
        yield from ("", "| key | admits | default | |", "|---|---|---|---|")
        for key in keys:
            yield f"| `{key.name}` | {_values_of(key)} |"
    inner = sections_of(model)
    if inner:
        yield from ("", "Sections: " + "; ".join(f"`{name}`, {_cell(_kinds(found))}" for name, found in inner.items()) + ".")


def _values_of(key: Key) -> str:
    """Return what a key admits, its default and its help, as cells of a table."""
    return " | ".join(map(_cell, (key.admits, key.default or "required", key.help)))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
