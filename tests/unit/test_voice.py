# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of the product: plain words, American spelling, as docs/glossary.md has them.

Checked are all strings, docstrings and comments of plugins/, and the texts that users read. Names in code are not.
"""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "changelogs/fragments/*",
    "roles/*/README.md",
    "roles/*/meta/argument_specs.yml",
    "playbooks/*",
)

_VERB = (
    "is|are|was|were|has|have|had|can|cannot|could|may|does|do|would|will|must|says|reads|writes|knows|takes|gives|"
    "holds|keeps|needs|counts|means|makes|lets|asks"
)
#: What is not written (a regular expression, in any case), and what is written instead. `;` separates choices.
FORBIDDEN = {
    # Words that a reader has to think about.
    "shall": "must; is to",
    "anew": "again",
    "afresh": "again; newly",
    "in vain": "without success",
    "(stand|stands|stood|standing) in": "is in; is listed in",
    "(nobody|somebody|anybody|everybody)": "no guest; no user; the name of who it is",
    "(whoever|whomever)": "whichever domain; whichever user",
    "(tell|tells|told|telling)( apart)?": "say; show; report; distinguish",
    "(has|have|had|lets?|to) (let )?go of": "does not use any more; has released",
    "(has|have|had) let go": "does not use any more; has released",
    "(mend|mends|mended|mending)": "repair",
    "in (its|their|the guest's|the kernel's|xen's|libxl's|xl's|linux's) (view|eyes|opinion)": "... says that",
    "(hear|hears|heard) ?(of|the|that|one|only)?": "uses; reads; learns of",
    "(hence|thereby|therein|thereof|whilst|amongst|lest)": "so; because; while; among",
    f"[,;:(] for ((the|a|an|its|their|this|that|these|those|no) )?[a-z0-9.'`_-]+ ({_VERB})": "because; as",
    # British spelling.
    "catalogues?": "catalog",
    "licences?": "license",
    "virtualis(e|es|ed|ing|ation)": "virtualize",
    "recognis(e|es|ed|ing)": "recognize",
    "(organ|normal|serial|summar|minim|optim|synchron|author|final|real|util)is(e|es|ed|ing|ation)": "-ize",
    "(colour|behaviour|neighbour|favour|honour|flavour)(s|ed|ing|ite|able)?": "-or",
    "(centre|fibre|metre)s?": "-er",
    "(analyse|analysed|defence|offence|grey|artefact|judgement|spelt|misspelt|learnt)s?": "American spelling",
    "(labell|modell|signall|travell|cancell)(ed|ing)": "one l",
}
#: Words that are right in one file, as they are names from before.
ALLOWED = {
    "changelogs/fragments/9-catalog.yml": {"catalogue"},
    "changelogs/fragments/9-documentation.yml": {"anew"},
    "changelogs/fragments/9-faults.yml": {"mended"},
}
_BETWEEN = r"""[\s#"']+(?:[fr]{1,2}["']+\s*)?"""


def rules() -> list[tuple[re.Pattern[str], str]]:
    """The forbidden words as patterns that find them also where a line or a string literal ends between two words."""
    found = []
    for words, instead in FORBIDDEN.items():
        start, end = ("" if words[0] in "[,;:" else r"\b"), r"\b"
        pattern = words.replace(" ?(", r"(?:\s+)?(").replace(" ", _BETWEEN)
        found.append((re.compile(f"{start}(?:{pattern}){end}", re.IGNORECASE), instead))
    return found


RULES = rules()


def prose(source: str) -> str:
    """A Python source with everything blanked out but strings and comments; lines stay where they are."""
    lines = [" " * len(line) for line in source.split("\n")]
    original = source.split("\n")
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in kinds:
            continue
        (first, begin), (last, end) = token.start, token.end
        for number in range(first, last + 1):
            text, blank = original[number - 1], lines[number - 1]
            left, right = (begin if number == first else 0), (end if number == last else len(text))
            lines[number - 1] = blank[:left] + text[left:right] + blank[right:]
    return "\n".join(lines)


def offenses(text: str) -> list[tuple[int, str, str]]:
    """Line, words and what to write instead, for each forbidden word."""
    return [
        (text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), instead)
        for pattern, instead in RULES
        for match in pattern.finditer(text)
    ]


FILES = sorted({file for glob in ("plugins/**/*.py", *TEXTS) for file in ROOT.glob(glob) if file.is_file()})


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(ROOT)) for file in FILES])
def test_the_language_is_plain(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    allowed = ALLOWED.get(str(file.relative_to(ROOT)), set())
    found = [
        offense
        for offense in offenses(prose(text) if file.suffix == ".py" else text)
        if offense[1].lower() not in allowed
    ]
    assert not found, "\n".join(f"{file}:{line}: {words!r}: write {instead}" for line, words, instead in found)


@pytest.mark.parametrize(
    "source",
    [
        '"""It shall be."""',
        "x = 1  # nobody has it",
        'print(f"{x} is in " "vain")',
        '("xl will not tell"\n " which")',
        '("which stands"\n f" in {x}")',
        "# kept, for\n# pciback has it",
    ],
)
def test_forbidden_words_are_found_in_strings_and_comments(source: str) -> None:
    assert offenses(prose(source))


def test_names_in_code_may_be_anything() -> None:
    assert not offenses(prose("told = mend(shall)  # the name of the device"))
    assert not offenses(prose('waits(3, for_=[device for device in devices], "give it back, for example")'))
