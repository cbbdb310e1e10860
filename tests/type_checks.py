"""Checks of types and shapes at every call of the package, in a third of the time of `jaxtyping.jaxtyped`.

pytest's option `--jaxtyping-packages` decorates every function of the package. The decorator of jaxtyping binds the arguments of every
call, checks them twice, and opens a scope for the names of axes even where a function names none: with networks as small as those of the
tests, it takes a third of all time. `checked` takes its place (tests/conftest.py). It lets beartype check arguments and result once, and
opens a scope where an annotation has a shape. What is refused is the same; a refusal says less about the other axes.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping._decorator import _destring_annotation
from jaxtyping._storage import pop_shape_memo, push_shape_memo

_original = jaxtyping.jaxtyped
_typed = beartype(conf=BeartypeConf(violation_type=jaxtyping.TypeCheckError))


def checked(*, typechecker: Any) -> Callable[[Any], Any]:
    """Return the decorator `jaxtyping.jaxtyped(typechecker=beartype.beartype)`, but faster."""
    return functools.partial(_checked, typechecker=typechecker)


def _checked(function: Any, *, typechecker: Any) -> Any:
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(_checked(function.__func__, typechecker=typechecker))
    if not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
        return _original(function, typechecker=typechecker)
    written = function.__annotations__
    function.__annotations__ = {name: _destring_annotation(hint, function.__globals__) for name, hint in written.items()}
    shaped = any(map(_has_shape, function.__annotations__.values()))
    inner = _typed(function)
    function.__annotations__ = written
    if shaped:
        return _scoped(function, inner)
    return function if inner is function else _switched(function, inner)


def _has_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(_has_shape(part) for part in (hint if isinstance(hint, list) else get_args(hint)))


def _switched(function: Callable[..., Any], inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def switched(*args: Any, **kwargs: Any) -> Any:
        return (function if jaxtyping.config.jaxtyping_disable else inner)(*args, **kwargs)

    return switched


def _scoped(function: Callable[..., Any], inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def scoped(*args: Any, **kwargs: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        push_shape_memo({})
        try:
            return inner(*args, **kwargs)
        finally:
            pop_shape_memo()

    return scoped
