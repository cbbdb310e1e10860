"""Every public function, method and property of the package that returns a value says in its docstring what it returns."""

import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Generator, Iterator, Mapping
from functools import cached_property
from types import FunctionType, ModuleType
from typing import Any, Never, NoReturn

import gconv_gan

NO_VALUE = {None, type(None), NoReturn, Never, Iterator[None], Generator[None]}
"""Return annotations of functions that return no value; the iterators are those of context managers."""

STATEMENT = re.compile(r"\b([Rr]eturns?|[Yy]ields?)\b")
NOUN_PHRASE = re.compile(r"(A|An|The|Whether|How many) ")
"""A first line that names the value, such as "Whether the images have labels."."""
RESULT = re.compile(r"\b([Rr]esults?|[Oo]utput|gives?)\b|->")
"""A class says what its ``forward`` returns, such as "Input [B, I, H, W], result [B, O, H, W]."."""
REFERENCE = re.compile(r"See ``(\w+)``")
"""A docstring that refers to the method of the same name of another class of the package."""


def says_what_it_returns(docstring: str) -> bool:
    return STATEMENT.search(docstring) is not None or NOUN_PHRASE.match(docstring) is not None


def returns_a_value(function: FunctionType) -> bool:
    return function.__annotations__.get("return") not in NO_VALUE


def methods(owner: type) -> Iterator[tuple[str, FunctionType]]:
    """Yield name and function of the public methods and properties defined in a class body; a field that holds a function is none."""
    for name, member in vars(owner).items():
        match member:
            case property():
                function = member.fget
            case cached_property():
                function = member.func
            case classmethod() | staticmethod():
                function = inspect.unwrap(member.__func__)
            case _:
                function = inspect.unwrap(member) if inspect.isroutine(member) else None
        if not name.startswith("_") and isinstance(function, FunctionType) and function.__qualname__ == f"{owner.__qualname__}.{name}":
            yield name, function


def inherited_docstring(owner: type, name: str) -> str:
    """Return the docstring of a method; one without a docstring has that of the class it overrides, as in ``help``."""
    return next((doc for base in owner.__mro__ if name in vars(base) and (doc := vars(base)[name].__doc__)), "")


def own(module: ModuleType) -> dict[str, Any]:
    """Return the public classes and functions that a module defines, by name."""
    return {
        name: member
        for name, member in vars(module).items()
        if not name.startswith("_") and getattr(member, "__module__", None) == module.__name__
    }


def silent_functions(module: ModuleType, classes: Mapping[str, type]) -> list[str]:
    """Return the public functions, methods and properties of a module that return a value and do not say which.

    ``classes`` are those to which "See ``NAME``" may refer.
    """
    silent = []
    for name, member in own(module).items():
        if inspect.isclass(member):
            for method, function in methods(member):
                docstring = inherited_docstring(member, method)
                reference = REFERENCE.match(docstring)
                if reference is not None and reference[1] in classes:
                    docstring = inherited_docstring(classes[reference[1]], method)
                by_class = method == "forward" and RESULT.search(member.__doc__ or "") is not None
                if returns_a_value(function) and not says_what_it_returns(docstring) and not by_class:
                    silent.append(f"{name}.{method}")
        else:
            function = inspect.unwrap(member)
            if isinstance(function, FunctionType) and returns_a_value(function) and not says_what_it_returns(function.__doc__ or ""):
                silent.append(name)
    return silent


def test_every_public_function_says_what_it_returns() -> None:
    names = [info.name for info in pkgutil.walk_packages(gconv_gan.__path__, "gconv_gan.") if "._" not in info.name]
    assert len(names) > 100
    if importlib.util.find_spec("triton") is None:  # builds of torch for CPUs do not bring it
        names.remove("gconv_gan.layers.norms.batch_kernels")
    modules = [importlib.import_module(name) for name in names]
    classes = {name: member for module in modules for name, member in own(module).items() if inspect.isclass(member)}
    found = {module.__name__: silent_functions(module, classes) for module in modules}
    assert {name: silent for name, silent in found.items() if silent} == {}


PLANTED = '''
from functools import cached_property

def loss(logits: list[float]) -> float:
    """Compute the loss."""

def mean(values: list[float]) -> float:
    """Return the mean."""

def show(values: list[float]) -> None:
    """Print the values."""

def _hidden() -> int: ...

class Layer:
    """A layer with a bias."""

    @property
    def width(self) -> int:
        """Channels."""

    @cached_property
    def height(self) -> int:
        """Rows."""

    @classmethod
    def of(cls) -> "Layer": ...

    def forward(self, x: float) -> float: ...

    def depth(self) -> int:
        """The number of layers."""

class Wider(Layer):
    """Input [B, I], result [B, O]."""

    def forward(self, x: float) -> float: ...

    def depth(self) -> int: ...

class Other:
    def depth(self) -> int:
        """See ``Layer``."""

    def of(self) -> int:
        """See ``Layer``."""

    def width(self) -> int:
        """See ``Nothing``."""
'''


def test_a_function_that_does_not_say_what_it_returns_is_found() -> None:
    planted = ModuleType("planted")
    exec(PLANTED, vars(planted))
    found = silent_functions(planted, {"Layer": planted.Layer})
    assert found == ["loss", "Layer.width", "Layer.height", "Layer.of", "Layer.forward", "Other.of", "Other.width"]
