"""Bands of a network's input: bands of the image, or expressions of them such as `(b1 + b2) / 2`.

>>> BandExpression.parse("(b1 + b2) / 2").value({1: 4.0, 2: 10.0}.get)
7.0
"""

import ast
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

__all__ = ["BandExpression", "checked_band", "same_bands"]

_LONGEST = 200
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}
_FUNCTIONS = ("abs", "log", "sqrt")
_GRAMMAR = f"bands such as b1, numbers, + - * /, brackets and {', '.join(_FUNCTIONS)}"


@dataclass(frozen=True, slots=True)
class BandExpression:
    """An expression of bands. It is checked when it is parsed, and never run as Python.

    Attributes
    ----------
    text
        As it is written.
    bands
        The numbers of the bands in it, counted from 1.
    """

    text: str
    bands: frozenset[int]
    _tree: ast.expr

    @classmethod
    @cache
    def parse(cls, text: str) -> Self:
        """Read an expression.

        Raises
        ------
        ValueError
            It is no expression of bands, or names no band.
        """
        try:
            if len(text) > _LONGEST:
                raise ValueError(f"it is longer than {_LONGEST} characters")
            tree = ast.parse(text.strip(), mode="eval").body
            bands = frozenset(_checked(tree))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else str(error)
            raise ValueError(
                f"found {text!r:.60} as a band ({reason}), wanted an expression of {_GRAMMAR}"
            ) from None
        if not bands:
            raise ValueError(f"found {text!r:.60} as a band, which names none. Write b1, b2, ...")
        return cls(text, bands, tree)

    @property
    def canonical(self) -> str:
        """The expression as Python would write it, so that spaces and brackets do not count."""
        return ast.unparse(self._tree)

    def value[T](self, band: Callable[[int], T], functions: Any = math) -> T:
        """What the expression gives.

        Parameters
        ----------
        band
            The values of a band by its number.
        functions
            The module whose `log` and `sqrt` are used: `math`, `numpy` or `torch`.
        """
        return _value(self._tree, band, functions)


def same_bands(some: Sequence[int | str], others: Sequence[int | str]) -> bool:
    """Whether two lists of bands mean the same.

    >>> same_bands([1, "(b1+b2)/2"], ["b1", "(b1 + b2) / 2"])
    True
    """
    first, second = (
        [BandExpression.parse(f"b{band}" if isinstance(band, int) else band) for band in bands]
        for bands in (some, others)
    )
    return [band.canonical for band in first] == [band.canonical for band in second]


def checked_band(value: Any) -> int | str:
    """A band of a recipe, checked: its number, or the text of an expression.

    >>> checked_band("b3"), checked_band("b1 * b2")
    (3, 'b1 * b2')
    """
    if not isinstance(value, str):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"found {value!r:.60} as a band, wanted 1, 2, ... or an expression")
        return value
    expression = BandExpression.parse(value)
    is_plain = expression.text.strip() == f"b{min(expression.bands)}"
    return min(expression.bands) if is_plain else value


def _checked(node: ast.expr) -> list[int]:
    """The numbers of the bands in a tree of which every part is allowed."""
    match node:
        case ast.Name(id=name):
            if name[:1] == "b" and name[1:].isascii() and name[1:].isdigit() and int(name[1:]) > 0:
                return [int(name[1:])]
            raise ValueError(f"{name} is no band")
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            if not math.isfinite(number):
                raise ValueError(f"{number} is no finite number")
            return []
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            bands = _checked(right)
            if isinstance(op, ast.Div) and not bands and _value(right, _no_band, math) == 0:
                raise ValueError("it divides by 0")
            return [*_checked(left), *bands]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _checked(operand)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            bands = _checked(argument)
            if not bands:
                raise ValueError(f"{name} of a number")
            return bands
    raise ValueError(f"{ast.unparse(node)!r:.40} is not allowed")


def _no_band(number: int) -> float:
    raise AssertionError(f"b{number} in what has no band")


def _value(node: ast.expr, band: Callable[[int], Any], functions: Any) -> Any:
    match node:
        case ast.Name(id=name):
            return band(int(name[1:]))
        case ast.Constant(value=number):
            return number
        case ast.BinOp(left=left, op=op, right=right):
            first, second = (_value(side, band, functions) for side in (left, right))
            return _OPERATORS[type(op)](first, second)
        case ast.UnaryOp(operand=operand):
            return -_value(operand, band, functions)
        case ast.Call(func=ast.Name(id="abs"), args=[argument]):
            return abs(_value(argument, band, functions))
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return getattr(functions, name)(_value(argument, band, functions))
    raise AssertionError(ast.dump(node))
