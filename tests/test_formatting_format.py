"""`coherence-ft fmt`: one form for one content, comments with their subject, and never another document."""

from __future__ import annotations

import errno
import os
import random
import stat
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from coherence_ft.cli import main
from coherence_ft.documents.diagnostics import CoherenceError
from coherence_ft.documents.reader import decode, parse_yaml
from coherence_ft.documents.schemas import load_schema
from coherence_ft.formatting import format as formatting
from coherence_ft.formatting.format import WIDTH, format_text, print_tree, scalar_text, write_text
from coherence_ft.formatting.tree import BLANK, Collection, Entry, Scalar, comments, plain, read_tree

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(
    path
    for folder in ("recipes", "schema/domains", "examples/tenant")
    for path in (ROOT / folder).rglob("*.yaml")
)
CASES = Path(__file__).parent / "golden" / "format"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def source(path: Path) -> str:
    return decode(path.read_bytes(), str(path))


@pytest.mark.parametrize("case", sorted(p.name for p in CASES.iterdir()))
def test_golden(case: str) -> None:
    """After a deliberate change: COHERENCE_FT_UPDATE_GOLDEN=1, then read the diff."""
    formatted = format_text(source(CASES / case / "input.yaml"), "input.yaml")
    expected = CASES / case / "output.yaml"
    if os.environ.get("COHERENCE_FT_UPDATE_GOLDEN"):
        expected.write_text(formatted, encoding="utf-8")
    assert formatted == expected.read_text(encoding="utf-8")
    assert format_text(formatted, "output.yaml") == formatted


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_what_ships_is_formatted(path: Path) -> None:
    assert format_text(source(path), name(path)) == source(path), "run: coherence-ft fmt " + name(path)


# --- properties ------------------------------------------------------------------------------------------


def check_properties(text: str) -> str:
    formatted = format_text(text, "f")
    assert parse_yaml(formatted, "f").data == parse_yaml(text, "f").data
    assert Counter(comments(formatted)) == Counter(comments(text))
    assert format_text(formatted, "f") == formatted
    assert formatted.endswith("\n")
    assert "\r" not in formatted
    return formatted


_WORDS = st.sampled_from(
    [
        *(
            "a",
            "text of words",
            "no",
            "on",
            "y",
            "1:30",
            "2027-01-31",
            "1.2.3",
            "007",
            "0.10",
            "null",
            "~",
            "",
        ),
        *(
            "a: b",
            "a #b",
            "#a",
            "- a",
            "-a",
            "it's",
            'a "b"',
            "\\d",
            " a",
            "a ",
            "a,b",
            "{a}",
            "é\u00a0%",
            "x" * 99,
        ),
        *(
            "two\nlines",
            "\n",
            "tab\t",
            "\x1b",
            "\u2028",
            "\ufeff",
            "\U0001f600",
            "? a",
            "|",
            "<<",
            "=",
            "@",
            "`",
        ),
    ]
) | st.text(max_size=12)


@st.composite
def scalars(draw: st.DrawFn) -> str:
    """A scalar on one line, plain or quoted."""
    if draw(st.booleans()):
        return draw(st.sampled_from(["1", "0.10", "1e-3", "true", "null", "~", "no", "1_000", "word", "a b"]))
    return scalar_text(Scalar(draw(_WORDS), '"'), flow=True)


def flows() -> st.SearchStrategy[str]:
    return st.recursive(
        scalars(),
        lambda inner: (
            st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
            | st.lists(inner, max_size=4).map(
                lambda items: "{" + ", ".join(f"k{n}: {item}" for n, item in enumerate(items)) + "}"
            )
        ),
        max_leaves=6,
    )


@st.composite
def remarks(draw: st.DrawFn, indent: int) -> list[str]:
    """Blank lines, and comments that are indented somehow."""
    lines = draw(
        st.lists(st.sampled_from(["", "#", "# a", "#b", "# --- c ---", "# 'd' [", "# é"]), max_size=3)
    )
    return [" " * draw(st.sampled_from([indent, indent, 0, indent + 1, indent + 3])) + line for line in lines]


@st.composite
def blocks(draw: st.DrawFn, indent: int = 0, depth: int = 0) -> list[str]:
    """The lines of a mapping or list in block style, with comments everywhere."""
    is_mapping = depth == 0 or draw(st.booleans())
    keys = ["reason", "id", "owner", "metric", "at_most", "title", "constraints", "extra", "more"]
    count = draw(st.integers(1, 4))
    chosen = draw(st.permutations(keys))[:count]
    lines: list[str] = []
    for n in range(count):
        lines += draw(remarks(indent))
        head = " " * indent + (f"{chosen[n]}:" if is_mapping else "-")
        trailing = draw(st.sampled_from(["", "", "  # t", " #u", "   # 'v"]))
        kind = draw(st.sampled_from(["scalar", "scalar", "flow", "block", "literal", "folded", "lines"]))
        inner = indent + draw(st.sampled_from([1, 2, 4]))
        if kind == "block" and depth < 3:
            lines += [head + trailing, *draw(blocks(inner, depth + 1))]
        elif kind == "literal":
            mark = draw(st.sampled_from(["|", ">", "|-", ">-", "|+", ">+"]))
            text = draw(st.lists(st.sampled_from(["a b", "# c", "  d", "", "e:"]), min_size=1, max_size=4))
            lines.append(f"{head} {mark}{trailing}")
            lines += [" " * inner + line if line else line for line in ["first", *text]]
        elif kind == "folded":
            lines += [f"{head} first", f"{' ' * inner}second{trailing}"]
        elif kind == "lines":
            lines += [f"{head} [a,{trailing}", *draw(remarks(inner)), f"{' ' * inner}b]"]
        else:
            lines.append(f"{head} {draw(flows() if kind == 'flow' else scalars())}{trailing}")
    return lines + draw(remarks(indent))


@st.composite
def documents(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(["constraint-set", "tenant", "recipe"]))
    head = ["apiVersion: coherence-ft/v1", f"kind: {kind}"]
    body = draw(blocks())
    lines = [*draw(remarks(0)), *(head + body if draw(st.booleans()) else body + head)]
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


@settings(max_examples=150)
@given(documents())
def test_generated_documents_keep_data_and_comments(text: str) -> None:
    try:
        parse_yaml(text, "f")
    except CoherenceError:  # such as a comment that ends a literal too early
        reject()  # hypothesis complains if that is most of them
    check_properties(text)


_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["comment", "trailing", "blank", "remove", "indent", "swap", "repeat"]),
        st.integers(0),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150)
@given(st.sampled_from(SHIPPED), _EDITS)
def test_changed_files_are_the_same_document_afterwards_or_refused(
    path: Path, edits: list[tuple[str, int]]
) -> None:
    lines = source(path).split("\n")
    for edit, number in edits:
        at = number % len(lines)
        match edit:
            case "comment":
                lines.insert(at, " " * (number % 9) + f"# {number}")
            case "trailing":
                lines[at] += "  # trailing"
            case "blank":
                lines.insert(at, "")
            case "remove":
                lines[at] = ""
            case "indent":
                lines[at] = " " * (number % 7) + lines[at].lstrip()
            case "swap":
                lines[at - 1], lines[at] = lines[at], lines[at - 1]
            case "repeat":
                lines.insert(at, lines[at])
    try:
        check_properties("\n".join(lines))
    except CoherenceError as error:
        assert not {"CFT133", "CFT134"} & set(error.codes)


@settings(max_examples=40)
@given(st.sampled_from(SHIPPED), st.randoms(use_true_random=False))
def test_shuffled_keys_come_back_with_their_comments(path: Path, chance: random.Random) -> None:
    text = source(path)
    tree = read_tree(text)
    for node in collections(tree):
        for key, entry in node.pairs():
            if not node.flow:
                entry.trailing = f"# on {key} of line {entry.place[0]}"
                if entry is not node.entries[0]:
                    entry.leading = [*entry.leading, f"# above {key} of line {entry.place[0]}"]
    expected = print_tree(tree)
    for node in collections(tree):
        # What stands first may carry the file's or the section's comments, which stay.
        first, rest = node.entries[:1], node.entries[1:]
        if node.is_mapping and not any(BLANK in entry.leading for entry in rest):
            chance.shuffle(rest)
            node.entries = first + rest
    assert format_text(print_tree(tree), "f") == expected


def collections(node: Collection) -> list[Collection]:
    inner = [entry.value for entry in node.entries if isinstance(entry.value, Collection)]
    return [node, *(each for below in inner for each in collections(below))]


@given(_WORDS, st.booleans())
def test_text_is_read_back_and_taken_for_nothing_else(text: str, flow: bool) -> None:
    import yaml

    printed = scalar_text(Scalar(text, '"'), flow)
    document = f"[{printed}]" if flow else f"k: {printed}"
    read = parse_yaml(document, "f").data
    assert read in ([text], {"k": text})
    old = yaml.safe_load(document)  # YAML 1.1
    assert old in ([text], {"k": text})
    assert printed not in ("y", "n", "Y", "N")


# --- what it says and does -------------------------------------------------------------------------------


def test_the_order_is_that_of_the_schema_across_files() -> None:
    order = list(load_schema("constraint-set")["$defs"]["constraint"]["properties"])
    constraint = ", ".join(f"{key}: 1" for key in reversed(order))
    text = f"constraints: [{{{constraint}}}]\nkind: recipe\napiVersion: coherence-ft/v1\n"
    data = parse_yaml(format_text(text, "f"), "f").data
    assert list(data) == ["apiVersion", "kind", "constraints"]
    assert list(data["constraints"][0]) == order


def test_a_line_of_the_greatest_width_stays_whole() -> None:
    head = "apiVersion: coherence-ft/v1\nkind: tenant\n"
    fits = f"domains: [{'a' * (WIDTH - len('domains: []'))}]\n"
    assert format_text(head + fits, "f").endswith(fits)
    assert format_text(head + fits.replace("a]", "aa]"), "f").endswith("  - " + "a" * (WIDTH - 10) + "\n")


def test_the_tree_gives_the_data_of_the_reader() -> None:
    for path in SHIPPED:
        assert plain(read_tree(source(path))) == parse_yaml(source(path), "f").data


RIGHT = "apiVersion: coherence-ft/v1\nkind: tenant\n"
WRONG = "kind: tenant\napiVersion: coherence-ft/v1  # v\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "right.yaml").write_text(RIGHT)
    (tmp_path / "wrong.yaml").write_text(WRONG)
    return tmp_path


def test_check_names_what_would_change_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main._run(["fmt", "--check", "."]) == 1
    assert capsys.readouterr().out == "would be formatted: wrong.yaml\n"
    assert (folder / "wrong.yaml").read_text() == WRONG
    assert main._run(["fmt", "."]) == 0
    assert capsys.readouterr().out == "formatted: wrong.yaml\n"
    assert (folder / "wrong.yaml").read_text() == RIGHT.replace("v1", "v1  # v")
    assert main._run(["fmt", "--check", "."]) == 0
    assert capsys.readouterr().out == "nothing to do in 2 files\n"


def test_diff_is_a_patch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main._run(["fmt", "--diff", "wrong.yaml"]) == 1
    printed = capsys.readouterr().out
    assert printed.splitlines()[:2] == ["--- a/wrong.yaml", "+++ b/wrong.yaml"]
    assert printed.splitlines()[3:] == [
        "+apiVersion: coherence-ft/v1  # v",
        " kind: tenant",
        "-" + WRONG.splitlines()[1],
    ]
    assert (folder / "wrong.yaml").read_text() == WRONG


def test_what_cannot_be_read_is_reported_and_the_rest_is_formatted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.yaml").write_text("kind: [\n")
    assert main._run(["fmt", "."]) == 1
    printed = capsys.readouterr()
    assert "CFT103" in printed.err and "broken.yaml:2:1" in printed.err
    assert printed.out == "formatted: wrong.yaml\n"
    assert (folder / "broken.yaml").read_text() == "kind: [\n"


def test_other_peoples_files_are_skipped_in_folders_and_refused_by_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = "version:   2\n"
    for file in ("compose.yaml", "x.schema.yaml"):
        (folder / file).write_text(foreign)
    assert main._run(["fmt", "."]) == 0
    assert main._run(["fmt", "compose.yaml", "x.schema.yaml"]) == 1
    assert capsys.readouterr().err.count("CFT201") == 2
    assert (folder / "compose.yaml").read_text() == foreign


def test_mode_and_link_are_kept(folder: Path) -> None:
    file = folder / "wrong.yaml"
    file.chmod(0o640)
    link = folder / "link.yaml"
    link.symlink_to(file)
    assert main._run(["fmt", "link.yaml"]) == 0
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.read_text().startswith("apiVersion")


def test_a_failed_write_leaves_the_old_file_and_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    before = sorted(folder.iterdir())
    assert main._run(["fmt", "."]) == 1
    assert "CFT134" in capsys.readouterr().err
    assert (folder / "wrong.yaml").read_text() == WRONG
    assert sorted(folder.iterdir()) == before


def test_an_interrupt_leaves_no_partial_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    before = sorted(folder.iterdir())
    with pytest.raises(KeyboardInterrupt):
        write_text(folder / "wrong.yaml", RIGHT)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("tenant", "recipe"),
        lambda text: text.replace("  # v", ""),
        lambda text: text + "# more\n",
        lambda text: text + "[",
    ],
)
def test_a_defect_in_the_printer_cannot_change_a_document(
    damage: object, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(formatting, "print_tree", lambda tree: damage(print_tree(tree)))  # type: ignore[operator]
    assert main._run(["fmt", "wrong.yaml"]) == 1
    assert "CFT133" in capsys.readouterr().err
    assert (folder / "wrong.yaml").read_text() == WRONG


def test_a_number_is_not_exchanged_for_an_equal_one() -> None:
    """1 and 1.0 and true are equal in Python, and different documents."""
    for other in ("1.0", "true"):
        with pytest.raises(CoherenceError, match="CFT133"):
            formatting.check_rewritten("f", f"k: {other}\n", {"k": 1}, [])


def test_comments_of_entries_are_where_the_docstring_says() -> None:
    text = "# top\na: 1  # on a\n# above b\nb:\n  - x\n  # end of b\n# end\n"
    tree = read_tree(text)
    a, b = tree.entries
    assert (a.leading, a.trailing) == (["# top"], "# on a")
    assert b.leading == ["# above b"]
    assert isinstance(b.value, Collection) and b.value.tail == ["# end of b"]
    assert tree.tail == ["# end"]
    assert isinstance(a, Entry) and a.place == (2, 1)
