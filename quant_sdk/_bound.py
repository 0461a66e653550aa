"""Methods that work on the class and on an instance alike."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


class on_class_or_instance(Generic[P, R]):  # noqa: N801 - used as a decorator
    """Bind a method to the instance, or to a default one made from the class on each call."""

    def __init__(self, method: Callable[Concatenate[Any, P], R]) -> None:
        self._method = method
        self.__doc__ = method.__doc__
        self.__name__ = method.__name__
        self.__wrapped__ = method

    def __get__(self, instance: object | None, owner: type) -> Callable[P, R]:
        method = self._method
        if instance is not None:
            return functools.partial(method, instance)

        @functools.wraps(method)
        def on_default(*args: P.args, **kwargs: P.kwargs) -> R:
            return method(owner(), *args, **kwargs)

        return on_default
