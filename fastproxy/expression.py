"""The expressions of circuit breakers and of retries (`features.md` 3.19, 3.20).

    expression = conjunction { "||" conjunction }
    conjunction = term { "&&" term }
    term = "(" expression ")" | Name "(" [ literal { "," literal } ] ")" [ operator literal ]
    operator = "==" | "!=" | "<" | "<=" | ">" | ">="

Literals are Go's: `5` is an int, `5.0` a float, `"GET"` a string, and they are not converted into
each other. `parse` checks names, numbers and types of arguments and of the compared literal, so
that evaluation cannot fail.

The program of a circuit breaker
--------------------------------
`program` writes an expression in postfix form for the engine: instructions of 40 bytes, without
alignment, little-endian:

    u32 code         1 AND, 2 OR (both pop two truth values and push one);
                     3 NetworkErrorRatio, 4 ResponseCodeRatio, 5 LatencyAtQuantileMS (compare the
                     function's value with the literal and push the truth value)
    u32 comparison   0 ==, 1 !=, 2 <, 3 <=, 4 >, 5 >= (function's value on the left); 0 for AND, OR
    i32 x 4          arguments of ResponseCodeRatio(a, b, c, d), else 0
    f64 quantile     argument of LatencyAtQuantileMS (0..100), else 0
    f64 or i64       the literal: f64 for codes 3 and 4, i64 (whole milliseconds) for code 5, else 0

The program of a retry
----------------------
`retry_program` does the same, in instructions of

    u32 code         1 AND, 2 OR; 3 Attempts, 4 ResponseCode, 6 RequestMethod (compared with the
                     literal); 5 IsNetworkError (pushed as it is)
    u32 comparison   as above; 0 for codes 1, 2 and 5
    i64              the literal of codes 3 and 4
    u32, bytes       the literal of code 6: its size and its text

At most `MAX_INSTRUCTIONS` instructions, and never more than `MAX_DEPTH` truth values at once, so
that one 64-bit word can be the stack. After the last instruction exactly one value is left.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass

MAX_INSTRUCTIONS = 128
MAX_DEPTH = 64
MAX_LENGTH = 4096  # characters

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
CODES = {"NetworkErrorRatio": 3, "ResponseCodeRatio": 4, "LatencyAtQuantileMS": 5}
RETRY_CODES = {"Attempts": 3, "ResponseCode": 4, "IsNetworkError": 5, "RequestMethod": 6}

Literal = int | float | str


@dataclass(frozen=True, slots=True)
class Function:
    """Types of the arguments, and of the value; a `bool` stands alone, others are compared."""

    arguments: tuple[type, ...]
    value: type


BREAKER = {
    "NetworkErrorRatio": Function((), float),
    "ResponseCodeRatio": Function((int, int, int, int), float),
    "LatencyAtQuantileMS": Function((float,), int),
}
RETRY = {
    "Attempts": Function((), int),
    "ResponseCode": Function((), int),
    "RequestMethod": Function((), str),
    "IsNetworkError": Function((), bool),
}
TYPES = {
    int: "a whole number such as 5",
    float: "a decimal such as 0.5",
    str: 'a text such as "GET"',
}


@dataclass(frozen=True, slots=True)
class Call:
    """A predicate function, or (with `comparison`) a function compared with a literal."""

    function: str
    arguments: tuple[Literal, ...] = ()
    comparison: str = ""
    literal: Literal = 0


@dataclass(frozen=True, slots=True)
class Both:
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Either:
    left: Expression
    right: Expression


Expression = Call | Both | Either

TOKEN = re.compile(
    r"""\s*(?:(?P<float>[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)
    |(?P<int>[0-9]+)
    |"(?P<str>[^"\\\n]*)"
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>&&|\|\||==|!=|<=|>=|[<>(),]))""",
    re.X | re.ASCII,
)


def parse(text: str, functions: Mapping[str, Function]) -> Expression:
    """The expression of a text over `BREAKER` or `RETRY`; ValueError with a sentence."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"the expression is longer than {MAX_LENGTH} characters")
    return _Parser(text, functions).whole()


class _Parser:
    """Recursive descent; `_kind` and `_text` are the token at hand, kind "" at the end."""

    def __init__(self, text: str, functions: Mapping[str, Function]) -> None:
        self._source = text
        self._functions = functions
        self._position = 0
        self._nesting = 0
        self._calls = 0
        self._advance()

    def _advance(self) -> None:
        match = TOKEN.match(self._source, self._position)
        if match is not None:
            self._kind, self._text = match.lastgroup or "", match[match.lastgroup or 0]
            self._position = match.end()
        elif rest := self._source[self._position :].strip():
            raise ValueError(f"cannot read the expression from {rest[:20]!r} on")
        else:
            self._kind = self._text = ""

    def _take(self, sign: str) -> bool:
        found = self._kind == "sign" and self._text == sign
        if found:
            self._advance()
        return found

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise ValueError(
                f"the expression has {self._text!r} where `{sign}` should be"
                if self._kind
                else f"the expression ends where `{sign}` should be"
            )

    def whole(self) -> Expression:
        found = self._either()
        if self._kind:
            raise ValueError(f"the expression goes on with {self._text!r}; join terms by && or ||")
        if depth(found) > MAX_DEPTH:
            raise ValueError(f"the expression is nested more than {MAX_DEPTH} deep")
        return found

    def _either(self) -> Expression:
        found = self._both()
        while self._take("||"):
            found = Either(found, self._both())
        return found

    def _both(self) -> Expression:
        found = self._term()
        while self._take("&&"):
            found = Both(found, self._term())
        return found

    def _term(self) -> Expression:
        if self._take("("):
            self._nesting += 1
            if self._nesting > MAX_DEPTH:
                raise ValueError(f"the expression is nested more than {MAX_DEPTH} deep")
            inner = self._either()
            self._expect(")")
            self._nesting -= 1
            return inner
        self._calls += 1
        if 2 * self._calls - 1 > MAX_INSTRUCTIONS:
            raise ValueError(f"the expression has more than {MAX_INSTRUCTIONS // 2} terms")
        return self._call()

    def _call(self) -> Call:
        name = self._text if self._kind == "name" else ""
        function = self._functions.get(name)
        if function is None:
            raise ValueError(
                f"{self._text or 'nothing'!r} stands where one of the functions "
                f"{', '.join(f'{known}()' for known in self._functions)} should be"
            )
        self._advance()
        self._expect("(")
        arguments = self._arguments(name, function)
        if function.value is bool:
            return Call(name, arguments)
        comparison = self._text
        if self._kind != "sign" or comparison not in COMPARISONS:
            raise ValueError(
                f"compare {name}() with {TYPES[function.value]} by {' '.join(COMPARISONS)}"
            )
        if function.value is str and comparison not in ("==", "!="):
            raise ValueError(f"{name}() can only be compared by == and !=")
        self._advance()
        return Call(name, arguments, comparison, self._literal(f"{name}()", function.value))

    def _arguments(self, name: str, function: Function) -> tuple[Literal, ...]:
        arguments: list[Literal] = []
        for index, kind in enumerate(function.arguments):
            if index:
                self._expect(",")
            value = self._literal(f"argument {index + 1} of {name}()", kind)
            if name == "LatencyAtQuantileMS" and not 0 <= float(value) <= 100:
                raise ValueError(f"the quantile {value} is not between 0.0 and 100.0")
            if isinstance(value, int) and value >= 1 << 31:
                raise ValueError(f"{value} is no status code")
            arguments.append(value)
        self._expect(")")
        return tuple(arguments)

    def _literal(self, what: str, wanted: type) -> Literal:
        if self._kind != wanted.__name__:
            raise ValueError(
                f"{what} needs {TYPES[wanted]}, not {self._text or 'the end of the expression'!r}"
            )
        value: Literal = wanted(self._text)
        if (isinstance(value, int) and value >= 1 << 63) or value == float("inf"):
            raise ValueError(f"{self._text[:30]} is too large")
        self._advance()
        return value


def depth(expression: Expression) -> int:
    """How many truth values the postfix form holds at once."""
    if isinstance(expression, Call):
        return 1
    return max(depth(expression.left), 1 + depth(expression.right))


def program(expression: Expression) -> bytes:
    """The postfix form of an expression over `BREAKER`, as described above."""
    if isinstance(expression, Call):
        function, arguments = expression.function, expression.arguments
        codes = arguments if function == "ResponseCodeRatio" else (0, 0, 0, 0)
        quantile = arguments[0] if function == "LatencyAtQuantileMS" else 0.0
        return struct.pack(
            "<II4id" + ("q" if BREAKER[function].value is int else "d"),
            CODES[function],
            COMPARISONS.index(expression.comparison),
            *codes,
            quantile,
            expression.literal,
        )
    own = struct.pack("<II32x", 1 if isinstance(expression, Both) else 2, 0)
    return program(expression.left) + program(expression.right) + own


def retry_program(expression: Expression) -> bytes:
    """The postfix form of an expression over `RETRY`, as described above."""
    if not isinstance(expression, Call):
        code = 1 if isinstance(expression, Both) else 2
        own = struct.pack("<II", code, 0)
        return retry_program(expression.left) + retry_program(expression.right) + own
    literal = expression.literal
    comparison = COMPARISONS.index(expression.comparison) if expression.comparison else 0
    own = struct.pack("<II", RETRY_CODES[expression.function], comparison)
    if isinstance(literal, str):
        text = literal.encode()
        return own + struct.pack("<I", len(text)) + text
    return own + struct.pack("<q", literal) if expression.comparison else own
