"""Config models derived from parts: the keyword arguments of a class or function are its keys.

A *part* is a class or function that a user chooses by its ``kind`` from a :class:`Table`. Its keyword-only arguments become the keys of
a strict pydantic model: annotations give types, ranges (``Annotated``) and choices (``Literal``), defaults are defaults, and the ``Args:``
of the docstring are the help. Positional arguments are passed by the caller. A keyword is no key if the table lists it as *given*
(the network passes it), if it is a bare callable, or if it is marked :class:`Fixed` (a keyword for Python alone).

A keyword that is itself a part is annotated with an alias, ``Conv = Annotated[Callable[..., nn.Module], Choice("CONVS")]``; its default
is a row of that table. An explicit model names a choice in the same way: ``conv: Annotated[PartConfig, Choice("CONVS")]``.
:func:`resolved` replaces each choice by the union of a table's models; :func:`constructor` turns a model's values back into the
part with its keywords bound; :func:`give` binds the values that only the caller knows.
"""

import importlib
import inspect
import re
import threading
import types
from collections import UserDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro
from pydantic import BaseModel, Discriminator, Field, Tag, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError

PARTS = "gconv_gan.parts"
"""The module that imports every table. It is imported when a model is derived, since this package may not import those of the tables."""
RESERVED = frozenset({"kind", *(name for name in dir(BaseModel) if not name.startswith("_"))})
"""Names that a key cannot have: pydantic's methods, and the name of the choice itself."""

Model = TypeVar("Model", bound=Config)


class Fixed:
    """Marks a keyword that is no key of the config: ``eps: Annotated[float, Fixed] = 1e-5``."""


@dataclass(frozen=True)
class Choice:
    """Marks a keyword, or a field of an explicit model, whose value is chosen from a table.

    Attributes:
        table: name of the table.
        name_only: the value is the name of a row; the keys of the row are not part of the config.
        default: kind of an absent section (explicit models; a keyword has its own default).
        kind: kind of a section without the key ``kind``.
        extra: further values of a ``name_only`` choice that are not rows of the table.

    """

    table: str
    name_only: bool = False
    default: str | None = None
    kind: str | None = None
    extra: tuple[str, ...] = ()


class PartConfig(Config):
    """A row of a table, by its ``kind``, and the values of its keys."""

    kind: str = ""
    table: ClassVar[str] = ""
    explicit: ClassVar[bool] = True
    """Whether the model is explicit, not derived: its part is then a function of the model."""
    choices: ClassVar[Mapping[str, Choice]] = {}
    """Key of the row, without those of the table's base -> its choice; None for a key that is no choice."""

    def __reduce__(self) -> tuple[Any, ...]:
        from gconv_gan.config.plugins import loaded_plugins

        return _restored_part, (loaded_plugins(), self.table, self.kind, self.model_dump_json())


class Table(UserDict[str, Any]):
    """Kind -> part. Plug-ins may add rows until the first model is derived.

    A part is a class, a function, a ``partial`` of one (whose keywords change defaults of keys, or bind keywords that are no keys), None
    for a row that does nothing, or a function of one explicit config model, which is then the model of that kind.

    Args:
        name: its name in capitals, as used in ``Choice``.
        rows: the built-in parts.
        given: keywords that the caller passes; they are no keys.
        base: explicit model of the keys that every kind has and that the caller reads.
        changed: kind -> changed defaults of the base's keys.
        fixed: kind -> keywords that are no keys in this table.

    """

    def __init__(
        self,
        name: str,
        rows: Mapping[str, Any],
        *,
        given: Collection[str] = (),
        base: type[PartConfig] = PartConfig,
        changed: Mapping[str, Mapping[str, Any]] | None = None,
        fixed: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.name, self.given, self.base = name, frozenset(given), base
        self.changed, self.fixed = changed or {}, fixed or {}
        self.derived: dict[str, type[Config]] | None = None
        super().__init__(rows)
        TABLES[name] = self

    def __setitem__(self, kind: str, row: Any) -> None:
        """Add a row.

        Raises:
            UserError: the kind exists, is no identifier, or the config was read already.

        """
        if not kind.isidentifier():
            raise UserError(f"{self.name}[{kind!r}]: a kind is an identifier such as my_conv")
        if kind in self.data:
            raise UserError(f"{self.name}[{kind!r}] exists: it is {_described(self.data[kind])}; give {_described(row)} another name")
        if self.derived is not None:
            raise UserError(f"{self.name}[{kind!r}] comes too late: the config was read already; name its file by --plugins")
        self.data[kind] = row

    def models(self) -> dict[str, type[Config]]:
        """Return the config model of every kind, in every thread the same; from then on the table takes no more rows."""
        with DERIVATION:
            if self.derived is None:
                if self.name in _DERIVING:
                    raise UserError(f"the table {self.name} holds a part that is chosen from {self.name} again")
                _DERIVING.append(self.name)
                try:
                    self.derived = {kind: _derived(self, kind, row) for kind, row in self.data.items()}
                finally:
                    _DERIVING.pop()
            return self.derived

    def kind_of(self, row: Any) -> str | None:
        """Return the kind of a part that is a row of this table, by identity; None for any other."""
        return next((kind for kind, known in self.data.items() if known is row), None)


TABLES: dict[str, Table] = {}
"""Every table by its name."""
_DERIVING: list[str] = []
"""Tables whose models are being derived, outermost first; guarded by ``DERIVATION``."""
DERIVATION = threading.RLock()
"""One lock for all tables and models, since deriving one derives others: a second thread waits and gets the same classes."""


def table(name: str) -> Table:
    """Return the table of this name.

    Raises:
        KeyError: there is none.

    """
    if name not in TABLES:
        importlib.import_module(PARTS)
    if name not in TABLES:
        raise KeyError(f"there is no table {name}: {', '.join(sorted(TABLES))}")
    return TABLES[name]


def _described(row: Any) -> str:
    """Return the module and name of the class or function of a part, for messages."""
    part, _ = unbound(row)
    return f"{getattr(part, '__module__', '')}.{getattr(part, '__qualname__', repr(part))}".lstrip(".")


# ---- reading signatures ---------------------------------------------------------------------------------------------


def unbound(part: Any) -> tuple[Any, dict[str, Any]]:
    """Return the class or function that a part wraps in ``partial``, and the keywords bound by these.

    ``inspect.signature`` of a ``partial`` cannot be used: it turns positional arguments after a bound one into keywords.
    """
    keywords: dict[str, Any] = {}
    while isinstance(part, partial):
        keywords = part.keywords | keywords
        part = part.func
    return part, keywords


def _constructors(part: Any) -> list[Any]:
    """Return the functions whose keywords a call of ``part`` takes: more than one if ``part`` passes keywords on by ``**``."""
    if not isinstance(part, type):
        return [part]
    found: list[Any] = []
    for cls in part.__mro__:
        if "__init__" not in vars(cls) or cls is object:
            continue
        found.append(vars(cls)["__init__"])
        if not any(p.kind is p.VAR_KEYWORD for p in _signature(found[-1])):
            break
    return found


def _signature(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C: its keywords cannot be read
        return []


@cache
def _parameters(part: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class or function by name, without ``self``, ``*args`` and ``**kwargs``."""
    found: dict[str, inspect.Parameter] = {}
    for function in _constructors(part):
        parameters = _signature(function)
        for parameter in parameters[1:] if isinstance(part, type) else parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter)
    return found


def _hints(part: Any, where: str) -> dict[str, Any]:
    """Return the evaluated annotations of a part's parameters, those of the first constructor before those that it calls."""
    found: dict[str, Any] = {}
    for function in reversed(_constructors(part)):
        try:
            found |= get_type_hints(function, include_extras=True)
        except NameError as error:
            raise UserError(
                f"{where}: an annotation of {_described(part)} names {error.name!r}, which does not exist when the config is read: "
                "import it outside TYPE_CHECKING, at the top of the module"
            ) from error
    return found


def takes(part: Any, name: str) -> bool:
    """Return whether a part has a parameter of this name."""
    return name in _parameters(unbound(part)[0])


def give(part: Any, **known: Any) -> Any:
    """Return the part with those of ``known`` bound for which it has a parameter; keywords that are bound already keep their values."""
    bound = unbound(part)[1]
    new = {name: value for name, value in known.items() if name not in bound and takes(part, name)}
    return partial(part, **new) if new else part


def value_of(part: Any, name: str, default: Any = None) -> Any:
    """Return the value that a part has for a keyword: the bound one, its own default, or ``default`` where it has none."""
    row, bound = unbound(part)
    if name in bound:
        return bound[name]
    parameter = _parameters(row).get(name)
    return default if parameter is None or parameter.default is parameter.empty else parameter.default


# ---- deriving models ------------------------------------------------------------------------------------------------


def _derived(owner: Table, kind: str, row: Any) -> type[Config]:
    """Return the config model of one row."""
    where = f"{owner.name}[{kind!r}]"
    part, bound = unbound(row)
    explicit = _explicit(part)
    if explicit is not None:
        found = resolved(explicit)
        explicit.table = found.table = owner.name
        # --help then shows its kinds, as it does for derived models
        found.__annotations__ = {**found.__annotations__, "kind": Annotated[Literal[kind], _kinds(owner)]}
        return found
    base = resolved(owner.base if row is not None else PartConfig)
    changed = {
        name: (base.model_fields[name].annotation, _with_default(base.model_fields[name], value))
        for name, value in owner.changed.get(kind, {}).items()
    }
    own, choices = _keys(owner, kind, row, where) if row is not None else ({}, {})
    for name in own:
        if name in RESERVED:
            raise UserError(f"{where}: a keyword cannot be called {name!r}, which config models use themselves: rename it")
    summary, _ = documentation(part)
    kinds: Any = Annotated[Literal[kind], _kinds(owner)]
    model: type[Config] = create_model(
        f"{owner.name}_{kind}",  # one word: error messages are parsed by this name
        __base__=base,
        __module__=__name__,
        __doc__=summary,
        # otherwise pydantic parses the source of every module for docstrings of attributes, the slowest step
        __cls_kwargs__={"use_attribute_docstrings": False},
        kind=(kinds, Field(kind, description=summary or f"{kind}.")),
        **(changed | own),
    )
    model.table, model.explicit, model.choices = owner.name, False, choices  # type: ignore[attr-defined]
    return model


def _kinds(owner: Table) -> Any:
    return tyro.conf.arg(metavar=f"{{{','.join(owner)}}}")


def _explicit(part: Any) -> type[PartConfig] | None:
    """Return the config model of a function whose one positional argument is such a model; None for any other part."""
    if part is None or isinstance(part, type):
        return None
    names = [name for name, parameter in _parameters(part).items() if parameter.kind is not parameter.KEYWORD_ONLY]
    if len(names) != 1:
        return None
    hint = get_type_hints(part).get(names[0])
    return hint if isinstance(hint, type) and issubclass(hint, PartConfig) else None


def _with_default(field: FieldInfo, value: Any) -> FieldInfo:
    return FieldInfo.merge_field_infos(field, default=value)


def _keys(owner: Table, kind: str, row: Any, where: str) -> tuple[dict[str, Any], dict[str, Choice]]:
    """Return the keys of a row as pydantic's fields, and which of them are choices."""
    part, bound = unbound(row)
    keywords = {name: p for name, p in _parameters(part).items() if p.kind is p.KEYWORD_ONLY}
    if not _parameters(part) and _signature(part) and not _described(part).startswith("torch."):
        raise UserError(f"{where}: {_described(part)} takes anything (*args, **kwargs), so its keys cannot be read: name its keywords")
    hints, helps = _hints(part, where), documentation(part)[1]
    not_keys = owner.given | frozenset(owner.fixed.get(kind, ()))
    fields: dict[str, Any] = {}
    choices: dict[str, Choice] = {}
    for name, parameter in keywords.items():
        if name in not_keys:
            continue
        place = f"{where}: the keyword {name!r}"
        if name not in hints:
            raise UserError(f"{place} has no annotation: write its type, such as {name}: float = 1.0")
        if _is_no_key(hints[name]):
            continue
        default = bound.get(name, parameter.default)
        annotation, choice = _key_type(hints[name], place)
        if choice is not None:
            choices[name] = choice
            default = _default_of(choice, default, place)
        description = helps.get(name)
        value = (
            Field(description=description) if default is parameter.empty else Field(default, description=description, validate_default=True)
        )
        fields[name] = (annotation, value)
    return fields, {name: choices.get(name, Choice("")) for name in fields}


def _is_no_key(hint: Any) -> bool:
    """Return whether a keyword is for Python alone: marked ``Fixed``, or of the type callable or callable | None."""
    if get_origin(hint) is Annotated:
        marks = get_args(hint)[1:]
        return any(mark is Fixed or isinstance(mark, Fixed) for mark in marks) or (
            not any(isinstance(mark, Choice) for mark in marks) and _is_no_key(get_args(hint)[0])
        )
    if get_origin(hint) in (Union, types.UnionType):
        return any(_is_no_key(member) for member in get_args(hint))
    return get_origin(hint) is not None and isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Callable)  # type: ignore[arg-type]


SCALARS = (int, float, str, bool, type(None))


def _key_type(hint: Any, place: str) -> tuple[Any, Choice | None]:
    """Return the type of a key, and the choice that it is."""
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        choice = next((mark for mark in marks if isinstance(mark, Choice)), None)
        if choice is not None:
            return union_of(choice), choice
        return Annotated[(_key_type(inner, place)[0], *marks)], None
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in SCALARS or origin is Literal or (isinstance(hint, type) and hasattr(hint, "__dataclass_fields__")):
        return hint, None
    if origin in (Union, types.UnionType):
        return Union[tuple(_key_type(member, place)[0] for member in arguments)], None  # noqa: UP007 - as many as there are
    if origin is tuple or (isinstance(origin, type) and issubclass(origin, Sequence)):
        items = arguments if origin is tuple else (*arguments, ...)
        found = [item if item is ... else _key_type(item, place) for item in items]
        listed = next((entry[1] for entry in found if entry is not ... and entry[1] is not None), None)
        return tuple[tuple(entry if entry is ... else entry[0] for entry in found)], listed  # type: ignore[misc]
    raise UserError(
        f"{place} has the type {hint}, which no config file can hold: use numbers, texts, true or false, Literal, tuples of them, "
        "or mark it Annotated[…, Fixed]"
    )


def union_of(choice: Choice) -> Any:
    """Return the type of a chosen section: the union of the table's models, discriminated by ``kind``; or a ``Literal`` of its names."""
    owner = table(choice.table)
    models = owner.models()
    if choice.name_only:
        return Literal[(*choice.extra, *models)]
    members = tuple(models.values())
    if len(members) == 1:
        return members[0]
    if choice.kind is None:
        return Annotated[Union[members], Field(discriminator="kind")]  # noqa: UP007

    def kind(value: object) -> object:
        return value.get("kind", choice.kind) if isinstance(value, dict) else getattr(value, "kind", None)

    return Annotated[Union[tuple(Annotated[model, Tag(name)] for name, model in models.items())], Discriminator(kind)]  # noqa: UP007


def _default_of(choice: Choice, default: Any, place: str) -> Any:
    """Return the default of a chosen key: the model of the row that is the keyword's default, or its name."""
    if default is inspect.Parameter.empty:
        return default
    if isinstance(default, tuple):
        return tuple(_default_of(choice, entry, place) for entry in default)
    owner = table(choice.table)
    kind = owner.kind_of(default)
    if kind is None and isinstance(default, partial):  # a row with changed defaults
        kind = owner.kind_of(unbound(default)[0])
    if kind is None:
        raise UserError(f"{place} is {_described(default)} by default, which is no row of {choice.table}: {', '.join(owner)}")
    if choice.name_only:
        return kind
    keys = unbound(default)[1] if isinstance(default, partial) and owner[kind] is not default else {}
    return owner.models()[kind](**keys)


def resolved(model: type[Model]) -> type[Model]:
    """Return an explicit model with every choice in it, and in the sections within it, replaced by the union of its table.

    The result is cached, for all threads: two configs are equal only if they are of one class.
    """
    with DERIVATION:
        found = _resolved(model)
    assert issubclass(found, model)
    return found


@cache
def _resolved(model: type[Config]) -> type[Config]:
    changes: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        choice = next((mark for mark in field.metadata if isinstance(mark, Choice)), None)
        annotation = union_of(choice) if choice is not None else _resolved_type(field.annotation)
        if annotation is field.annotation:
            continue
        default: Any = field.default
        if choice is not None and choice.default is not None:
            default = choice.default if choice.name_only else table(choice.table).models()[choice.default]()
        elif field.default_factory is not None:  # a section with choices of its own, whose defaults exist after it is resolved
            default = annotation()
        elif isinstance(default, Config):
            default = annotation(**{key: getattr(default, key) for key in default.model_fields_set})
        required = default is PydanticUndefined
        kept: dict[str, Any] = {"description": field.description, "exclude_if": field.exclude_if}
        changes[name] = (annotation, Field(**kept) if required else Field(default, **kept))
    if not changes:
        return model
    found: type[Config] = create_model(
        model.__name__,
        __base__=model,
        __module__=model.__module__,
        __doc__=model.__doc__,
        __cls_kwargs__={"use_attribute_docstrings": False},
        **changes,
    )
    if not issubclass(found, PartConfig):
        found.__reduce__ = _reduce  # type: ignore[method-assign,assignment]
    return found


def _resolved_type(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return resolved(annotation)
    if get_origin(annotation) is tuple:
        items = [_listed(item) for item in get_args(annotation)]
        return tuple[tuple(items)] if any(new is not old for new, old in zip(items, get_args(annotation), strict=True)) else annotation  # type: ignore[misc]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [_resolved_type(member) for member in get_args(annotation)]
        if any(new is not old for new, old in zip(members, get_args(annotation), strict=True)):
            return Union[tuple(members)]  # noqa: UP007 - as many as there are
    return annotation


def _listed(item: Any) -> Any:
    if get_origin(item) is Annotated:
        choice = next((mark for mark in get_args(item)[1:] if isinstance(mark, Choice)), None)
        return item if choice is None else union_of(choice)
    return _resolved_type(item)


def _reduce(config: Config) -> tuple[Any, ...]:
    """Pickle a config of a derived class, which cannot be imported by name, as the explicit class from which it was derived."""
    from gconv_gan.config.plugins import loaded_plugins

    return _restored, (loaded_plugins(), type(config).__mro__[1], config.model_dump_json())


def _restored(plugins: tuple[str, ...], model: type[Config], values: str) -> Config:
    from gconv_gan.config.plugins import load_plugins

    load_plugins(plugins)
    return resolved(model).model_validate_json(values)


def _restored_part(plugins: tuple[str, ...], name: str, kind: str, values: str) -> Config:
    from gconv_gan.config.plugins import load_plugins

    load_plugins(plugins)
    return table(name).models()[kind].model_validate_json(values)


# ---- from values to parts -------------------------------------------------------------------------------------------


class Bound(partial[Any]):
    """A part with bound keywords; if the part refuses them, the message names the section of the config."""

    place: str = ""

    def __call__(self, /, *args: Any, **keywords: Any) -> Any:
        try:
            return super().__call__(*args, **keywords)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{self.place}: {error}") from error


def _row(config: PartConfig) -> Any:
    """Return the part that a config names, with the keywords that its table binds."""
    if not config.table:  # the table of an explicit model is set when the models of the table are derived
        importlib.import_module(PARTS)
        for owner in TABLES.values():
            owner.models()
    return table(config.table)[config.kind]


def constructor(config: Config, place: str = "") -> Any:
    """Return the part that a config names, with its keys bound, nested parts first; None for a row that does nothing.

    Args:
        config: a model of a table's row.
        place: dotted key of the section; a ``ValueError`` of the part becomes a ``UserError`` that names it.

    """
    assert isinstance(config, PartConfig)
    row = _row(config)
    if row is None:
        return None
    if config.explicit:
        return _placed(Bound(row, config), place)
    values = {name: _realised(getattr(config, name), choice, f"{place}.{name}") for name, choice in config.choices.items()}
    if not place:
        return partial(row, **values) if values else row
    return _placed(Bound(row, **values), place)


def _placed(part: "Bound", place: str) -> "Bound":
    part.place = place
    return part


def _realised(value: Any, choice: Choice, place: str) -> Any:
    """Return the value of a keyword: a section becomes its part, the name of a row the row."""
    if isinstance(value, PartConfig):
        return constructor(value, place)
    if isinstance(value, tuple) and any(isinstance(entry, PartConfig) for entry in value):
        return tuple(constructor(entry, f"{place}.{index}") for index, entry in enumerate(value))
    if choice.name_only and isinstance(value, str) and value not in choice.extra:
        return table(choice.table)[value]
    return value


def flagged(config: PartConfig, flag: str, place: str) -> str | None:
    """Return the key and value, as in a config file, by which a part or a part within it has a property; None if no part has it.

    The property is the attribute ``flag`` of the part: true, or the name of a key that must be true, or a function of the keys.
    """
    says = getattr(unbound(_row(config))[0], flag, False)
    if callable(says):
        says = says(config)
    if isinstance(says, str):
        if getattr(config, says):
            return f"{place}.{says} = true"
    elif says:
        return f'{place}.kind = "{config.kind}"'
    parts = ((name, getattr(config, name)) for name in type(config).model_fields)
    found = (flagged(part, flag, f"{place}.{name}") for name, part in parts if isinstance(part, PartConfig))
    return next((key for key in found if key is not None), None)


# ---- documentation --------------------------------------------------------------------------------------------------


def documentation(part: Any) -> tuple[str, dict[str, str]]:
    """Return the first line of a part's docstring, and the text of each entry of its ``Args:``, those of base classes included."""
    if part is None:
        return "None.", {}
    summary = _plain((inspect.getdoc(part) or "").split("\n\n")[0])
    sources = part.__mro__ if isinstance(part, type) else [part]
    helps: dict[str, str] = {}
    for source in reversed(sources):
        helps |= arguments(source.__doc__ or "")
    return summary, helps


def arguments(docstring: str) -> dict[str, str]:
    """Return the entries of the ``Args:`` of a docstring: ``name, name: text`` at four spaces, lines of their own deeper."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.cleandoc(docstring), re.MULTILINE | re.DOTALL)
    if section is None:
        return {}
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?= {4}\S)", "\n" + section.group(1)):
        names, colon, text = entry.strip().partition(":")
        if colon:
            found |= dict.fromkeys((name.strip().lstrip("*") for name in names.split(",")), _plain(text))
    return found


def _plain(text: str) -> str:
    """Return a text of a docstring as help: without roles, double backticks and line ends."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text)
    return re.sub(r"\s+", " ", text.replace("``", "")).strip()
