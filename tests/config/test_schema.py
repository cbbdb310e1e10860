"""Config models derived from parts: keys, refused signatures, defaults, copies and pickles."""

import copy
import functools
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from jaxtyping import Float
from pydantic import PositiveInt, ValidationError, create_model
from torch import Tensor, nn

from gconv_gan import parts
from gconv_gan.config import schema
from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import apply_overrides, validated
from gconv_gan.config.ranges import Fraction
from gconv_gan.config.schema import (
    TABLES,
    Choice,
    Fixed,
    PartConfig,
    Table,
    arguments,
    constructor,
    documentation,
    flagged,
    give,
    resolved,
    takes,
    value_of,
)
from gconv_gan.config.sections.runs import GANRunConfig
from tests.training.tiny import tiny

if TYPE_CHECKING:
    from decimal import Decimal


class Layer:
    """A layer of two keys.

    Args:
        channels: of the caller.
        size: Side of the kernel, which is odd.
        share: Share of the channels that it sees.
        eps: of the division.
        num_classes: known to the network.
        norm: made by the network.

    """

    couples_batch = "coupled"

    def __init__(
        self,
        channels: int = 3,
        *,
        size: PositiveInt = 3,
        share: Fraction = 0.5,
        coupled: bool = False,
        eps: Annotated[float, Fixed] = 1e-5,
        num_classes: int | None = None,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        self.channels, self.size, self.share, self.num_classes = channels, size, share, num_classes


class Wide(Layer):
    """A layer that hands on the keywords of its base class.

    Args:
        width: Channels in the middle of the layer.

    """

    def __init__(self, channels: int = 3, *, width: PositiveInt, **layer: Any) -> None:
        super().__init__(channels, **layer)
        self.width = width


@pytest.fixture
def table() -> Iterator[Callable[..., Table]]:
    """Make tables that are gone after the test."""
    before = dict(TABLES)
    yield Table
    TABLES.clear()
    TABLES.update(before)


def model(table: Callable[..., Table], row: Any, **options: Any) -> Any:
    return table("TEST", {"row": row}, **options).models()["row"]


def test_keyword_only_arguments_are_the_keys(table: Callable[..., Table]) -> None:
    found = model(table, Layer, given=("num_classes",))
    assert list(found.model_fields) == ["kind", "size", "share", "coupled"]
    assert found().model_dump() == {"kind": "row", "size": 3, "share": 0.5, "coupled": False}
    assert found.model_fields["size"].description == "Side of the kernel, which is odd."
    assert found.__doc__ == "A layer of two keys."
    for wrong in ({"size": 0}, {"share": 1.5}, {"size": "3"}, {"channels": 4}, {"eps": 0.1}):
        with pytest.raises(ValidationError):
            found(**wrong)


def test_a_part_is_made_from_its_keys_and_what_the_network_knows(table: Callable[..., Table]) -> None:
    part = give(constructor(model(table, Layer, given=("num_classes",))(size=5)), num_classes=7, latent_dim=9)
    layer = part(16)
    assert (layer.channels, layer.size, layer.num_classes) == (16, 5, 7)
    assert give(part, num_classes=8)(1).num_classes == 7  # what is bound stays
    assert takes(part, "size")
    assert not takes(part, "latent_dim")
    assert (value_of(part, "size"), value_of(part, "share"), value_of(part, "width", 4)) == (5, 0.5, 4)


def test_keywords_passed_on_by_kwargs_are_those_of_the_base_class(table: Callable[..., Table]) -> None:
    found = model(table, Wide, given=("num_classes",))
    assert set(found.model_fields) == {"kind", "width", "size", "share", "coupled"}
    assert found.model_fields["width"].is_required()
    assert found.model_fields["share"].description == "Share of the channels that it sees."
    assert constructor(found(width=2, size=7))().size == 7


def test_a_partial_has_another_default_and_turns_no_positional_argument_into_a_key(table: Callable[..., Table]) -> None:
    found = model(table, partial(Layer, channels=4, size=9, num_classes=2), given=("num_classes",))
    assert set(found.model_fields) == {"kind", "size", "share", "coupled"}
    layer = constructor(found())()
    assert (layer.channels, layer.size, layer.num_classes) == (4, 9, 2)


def test_none_is_a_row_without_keys(table: Callable[..., Table]) -> None:
    class Base(PartConfig):
        every: int = 1

    made = table("TEST", {"none": None, "row": Layer}, base=Base)
    assert set(made.models()["none"].model_fields) == {"kind"}
    assert "every" in made.models()["row"].model_fields
    assert constructor(made.models()["none"]()) is None


def test_keys_of_the_base_model_may_have_other_defaults_for_a_kind(table: Callable[..., Table]) -> None:
    class Base(PartConfig):
        every: PositiveInt = 1
        """Steps between two of them."""

    made = table("TEST", {"row": Layer, "other": Layer}, base=Base, changed={"other": {"every": 4}}, fixed={"other": ("share",)})
    row, other = made.models()["row"](), made.models()["other"]()
    assert isinstance(row, Base)
    assert (row.every, other.every) == (1, 4)
    assert "share" not in type(other).model_fields
    assert made.models()["other"].model_fields["every"].description == "Steps between two of them."
    assert not hasattr(constructor(row)(), "every")


def test_an_explicit_model_is_the_config_of_a_function_of_it(table: Callable[..., Table]) -> None:
    class Written(PartConfig):
        kind: Literal["row"] = "row"
        size: int = 2

    def doubled(config: Written, *, files: dict[str, int] | None = None) -> int:
        return 2 * config.size

    assert model(table, doubled) is Written
    assert constructor(Written(size=4))() == 8


def test_a_part_within_a_part(table: Callable[..., Table]) -> None:
    table("INNER", {"layer": Layer, "wide": partial(Wide, width=3)}, given=("num_classes",))
    table("NAMES", {"relu": nn.ReLU, "gelu": nn.GELU})

    def outer(
        *,
        layer: Annotated[Callable[..., Any], Choice("INNER")] = Layer,
        layers: Sequence[Annotated[Callable[..., Any], Choice("INNER")]] = (),
        activation: Annotated[Callable[[], nn.Module], Choice("NAMES", name_only=True)] = nn.GELU,
    ) -> Any:
        return layer(), [made() for made in layers], activation

    found = model(table, outer)
    chosen = {"layer": {"kind": "wide", "width": 6}, "layers": [{"kind": "layer", "size": 5}], "activation": "relu"}
    values = found.model_validate_json(json.dumps(chosen))
    layer, layers, activation = constructor(values)()
    assert (layer.width, [entry.size for entry in layers], activation) == (6, [5], nn.ReLU)
    assert found().model_dump() == {
        "kind": "row",
        "layer": {"kind": "layer", "size": 3, "share": 0.5, "coupled": False},
        "layers": (),
        "activation": "gelu",
    }


def test_a_list_of_parts_in_an_explicit_model(table: Callable[..., Table]) -> None:
    table("INNER", {"layer": Layer, "wide": Wide}, given=("num_classes",))

    class Run(Config):
        methods: tuple[Annotated[PartConfig, Choice("INNER")], ...] = ()

    values = resolved(Run).model_validate_json('{"methods": [{"kind": "wide", "width": 2}, {"kind": "layer"}]}')
    assert [method.kind for method in values.methods] == ["wide", "layer"]
    changed = apply_overrides(values, ["--methods.1.kind", "wide", "--methods.1.width", "5", "--methods.0.size", "7"])
    assert [(method.kind, method.width) for method in changed.methods] == [("wide", 2), ("wide", 5)]
    assert changed.methods[0].size == 7
    for wrong, sentence in {
        '[{"kind": "narrow"}]': r"here: methods\.0\.kind = 'narrow' is not among",
        '[{"kind": "layer", "sise": 3}]': r"here: unknown key 'methods\.0\.sise'; did you mean 'size'\?",
        '[{"kind": "layer"}, {"kind": "layer", "width": 3}]': r"key 'methods\.1\.width' belongs to kind wide, but methods\.1\.kind = ",
        '[{"kind": "layer", "size": 0}]': r"here: methods\.0\.size: Input should be greater than 0, got 0",
    }.items():
        with pytest.raises(UserError, match=sentence):
            validated(Run, {"methods": json.loads(wrong)}, "here")
    longer = apply_overrides(values, ["--methods.3.kind", "layer", "--methods.2.kind", "wide", "--methods.2.width", "9"])
    assert longer.methods[:2] == values.methods
    assert [method.model_dump() for method in longer.methods[2:]] == [
        {"kind": "wide", "width": 9, "size": 3, "share": 0.5, "coupled": False},
        {"kind": "layer", "size": 3, "share": 0.5, "coupled": False},
    ]
    with pytest.raises(UserError, match=r"--methods\.3\.kind: methods has 2 entries, numbered from 0; --methods\.2\.kind adds one"):
        apply_overrides(values, ["--methods.3.kind", "wide"])
    with pytest.raises(UserError, match=r"--methods\.2\.width must be given"):
        apply_overrides(values, ["--methods.2.kind", "wide"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_annotation", "TEST\\['row'\\]: the keyword 'size' has no annotation"),
        ("a_tensor", "TEST\\['row'\\]: the keyword 'weight' has the type .*Float.* no config file can hold"),
        ("a_dict", "TEST\\['row'\\]: the keyword 'options' has the type dict.* no config file can hold"),
        ("unknown_name", "TEST\\['row'\\]: an annotation of .*unknown_name names 'Decimal', .* import it outside TYPE_CHECKING"),
        ("shadowing", "TEST\\['row'\\]: a keyword cannot be called 'copy'"),
        ("called_kind", "TEST\\['row'\\]: a keyword cannot be called 'kind'"),
        ("wrapped", "TEST\\['row'\\]: .* takes anything"),
        ("of_no_table", "TEST\\['row'\\]: the keyword 'layer' is .*Layer by default, which is no row of INNER: wide"),
    ],
)
def test_a_row_that_cannot_be_a_config_is_refused_by_name(table: Callable[..., Table], name: str, message: str) -> None:
    table("INNER", {"wide": Wide})
    with pytest.raises(UserError, match=message):
        model(table, ROWS[name])


def no_annotation(*, size=3):  # type: ignore[no-untyped-def]
    return size


def a_tensor(*, weight: Float[Tensor, "b c"] | None = None) -> None: ...


def a_dict(*, options: dict[str, int]) -> None: ...


def unknown_name(*, size: "Decimal") -> None: ...


def shadowing(*, copy: bool = False) -> None: ...


def called_kind(*, kind: str = "x") -> None: ...


def of_no_table(*, layer: Annotated[Callable[..., Any], Choice("INNER")] = Layer) -> None: ...


def wrapped(*args: Any, **keywords: Any) -> Any:
    return Layer(*args, **keywords)


ROWS: dict[str, Any] = {
    row.__name__: row for row in (no_annotation, a_tensor, a_dict, unknown_name, shadowing, called_kind, of_no_table, wrapped)
}


def test_a_decorator_that_keeps_the_signature_keeps_the_keys(table: Callable[..., Table]) -> None:
    def decorated(*, size: PositiveInt = 3) -> int:
        return size

    @functools.wraps(decorated)
    def outside(*args: Any, **keywords: Any) -> int:
        return decorated(*args, **keywords)

    assert set(model(table, outside).model_fields) == {"kind", "size"}


def test_a_wrong_default_is_found_when_a_config_is_made(table: Callable[..., Table]) -> None:
    def wrong(*, size: PositiveInt = -3) -> None: ...

    found = model(table, wrong)
    with pytest.raises(ValidationError, match="greater than 0"):
        found()


def test_a_table_takes_new_kinds_until_a_config_was_derived(table: Callable[..., Table]) -> None:
    made = table("TEST", {"row": Layer})
    with pytest.raises(UserError, match=r"TEST\['row'\] exists: it is .*Layer; give .*Wide another name"):
        made["row"] = Wide
    with pytest.raises(UserError, match="a kind is an identifier"):
        made["my row"] = Wide
    made["wide"] = Wide
    assert set(made.models()) == {"row", "wide"}
    with pytest.raises(UserError, match="comes too late"):
        made["late"] = Wide


def test_a_choice_of_an_unknown_table_is_an_error(table: Callable[..., Table]) -> None:
    def outer(*, layer: Annotated[Callable[..., Any], Choice("LAYRES")] = Layer) -> None: ...

    with pytest.raises(KeyError, match="there is no table LAYRES"):
        model(table, outer)


def test_a_table_that_holds_itself_is_refused(table: Callable[..., Table]) -> None:
    def outer(*, inner: Annotated[Callable[..., Any], Choice("TEST")] = Layer) -> None: ...

    with pytest.raises(UserError, match="chosen from TEST again"):
        model(table, outer)


def test_an_error_of_a_constructor_names_the_section(tmp_path: Path) -> None:
    config = tiny(tmp_path, generator={"conv": {"kind": "gconv", "granularity": "tap"}})
    conv = constructor(config.generator.conv, "generator.conv")
    with pytest.raises(UserError, match=r"^generator\.conv: granularity and strategy belong to mode='bank'"):
        conv(4, 4, 3, latent_dim=6)
    with pytest.raises(UserError, match=r"^generator\.conv: granularity"):
        pickle.loads(pickle.dumps(conv))(4, 4, 3, latent_dim=6)


def test_a_flag_of_a_part_is_found_by_the_key_that_sets_it(table: Callable[..., Table]) -> None:
    found = model(table, Layer)
    assert flagged(found(), "couples_batch", "d.conv") is None
    assert flagged(found(coupled=True), "couples_batch", "d.conv") == "d.conv.coupled = true"


def test_configs_are_equal_only_as_objects_of_one_class_which_is_made_once(tmp_path: Path) -> None:
    assert resolved(GANRunConfig) is resolved(GANRunConfig)
    assert isinstance(tiny(tmp_path), GANRunConfig)
    assert tiny(tmp_path) == tiny(tmp_path)


def test_threads_that_read_a_config_at_once_get_one_class(table: Callable[..., Table], monkeypatch: pytest.MonkeyPatch) -> None:
    inner = table("INNER", {"layer": Layer, "wide": Wide}, given=("num_classes",))

    class Run(Config):
        layer: Annotated[PartConfig, Choice("INNER", default="layer")]

    def slow(*names: str, **fields: Any) -> Any:
        time.sleep(0.02)  # the other threads run meanwhile
        return create_model(*names, **fields)

    monkeypatch.setattr(schema, "create_model", slow)
    together = threading.Barrier(4)

    def read(_: int) -> tuple[Any, ...]:
        together.wait()
        return inner.models()["wide"], resolved(Run), validated(Run, {"layer": {"kind": "wide", "width": 2}}, "here")

    with ThreadPoolExecutor(4) as threads:
        (wide, run, values), *others = threads.map(read, range(4))
    for other in others:
        assert other[0] is wide
        assert other[1] is run
        assert other[2] == values


def test_configs_can_be_copied_and_pickled(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    for part in (config, config.generator, config.generator.conv, config.data):
        assert copy.deepcopy(part) == part
        assert pickle.loads(pickle.dumps(part)) == part


def test_arguments_of_a_docstring() -> None:
    text = """Title.

    Args:
        one, two: of both, see :func:`there`
            and on the next line: here.
        three: ``x``.

    Raises:
        ValueError: never.

    """
    assert arguments(text) == {
        "one": "of both, see there and on the next line: here.",
        "two": "of both, see there and on the next line: here.",
        "three": "x.",
    }
    assert documentation(None) == ("None.", {})


OWNERS = {name: found for name in parts.__all__ if isinstance(found := getattr(parts, name), Table)}


def every_key() -> Iterator[Any]:
    for name, owner in OWNERS.items():
        for kind, found in owner.models().items():
            for key, field in found.model_fields.items():
                yield pytest.param(found, key, field.description, id=f"{name}.{kind}.{key}")


@pytest.mark.parametrize(("found", "key", "text"), list(every_key()))
def test_every_key_has_a_help_text(found: type[Config], key: str, text: str | None) -> None:
    assert found.__doc__
    if key != "kind":
        assert text is not None, "its entry in Args: is the help"
        assert len(text) >= 16, text
        assert not text.startswith(("see ", "as in ")), text


@pytest.mark.parametrize("name", OWNERS)
def test_every_row_has_a_config(name: str) -> None:
    owner = OWNERS[name]
    assert owner.name == name
    for kind, found in owner.models().items():
        required = [key for key, field in found.model_fields.items() if field.is_required()]
        assert set(required) <= {"width", "path", "milestones", "name"}, kind
        if not required:
            assert found().kind == kind
