"""What libyaml says of a text that is no YAML, in the words of those who write it."""

from __future__ import annotations

INDENTATION = "correct the indentation"
# libyaml's words (its scanner and parser) -> what has happened, and what to do.
PLAIN = {
    "found character that cannot start any token": "a value begins with a tab or one of @ ` %;"
    " indent by blanks, and put such a value between quotes",
    "found a tab character where an indentation space is expected": "a line is indented by a tab;"
    " indent by blanks",
    "found a tab character that violates indentation": "a line is indented by a tab;"
    " indent by blanks",
    "mapping values are not allowed in this context": "a colon stands where no key can be;"
    f" put a value that holds `: ` between quotes, or {INDENTATION}",
    "mapping keys are not allowed in this context": "a `? ` stands where no key can be;"
    " put the value between quotes",
    "block sequence entries are not allowed in this context": "a `- ` stands where no list can"
    f" begin; {INDENTATION}",
    "did not find expected ',' or ']'": "a list in [ ] is not closed or lacks a comma; add it",
    "did not find expected ',' or '}'": "a mapping in { } is not closed or lacks a comma; add it",
    "found unexpected end of stream": "a quote is not closed; close it",
    "found unexpected document indicator": "a quote is not closed before the next document;"
    " close it",
    "did not find expected '-' indicator": f"a list goes on without `- `; {INDENTATION}",
    "did not find expected key": f"a line does not belong to the mapping above; {INDENTATION}",
    "could not find expected ':'": "a key has no colon behind it; add `: `",
    "did not find expected <document start>": "a line stands to the left of the first one;"
    f" {INDENTATION}",
    "did not find expected alphabetic or numeric character": "a value begins with * or &;"
    " put it between quotes",
    "found unknown escape character": "a backslash between double quotes starts no escape;"
    " use single quotes",
}


def plain(problem: str) -> str:
    """Return what to show of libyaml's problem; what is not known here is shown as it is."""
    first = problem.partition("\n")[0]
    return PLAIN.get(first, first)
