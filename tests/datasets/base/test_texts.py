"""YAML and JSON of others: strict, and refused before they cost anything."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pelagos.datasets.base.manifest import MANIFEST, require_intact, seal
from pelagos.datasets.base.texts import MOST_YAML, parse_json, parse_yaml

BOMB = "a0: &a0 [1, 2, 3]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 60)}], y{i}: 1}}\n" for i in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "values, aliases .* written out, and may hold 1,000,000"),
        ("a: &a [*a]", "a part of it holds itself by an alias"),
        ("[" * 100_000, "nested more than 64 levels deep"),
        ("- " * 100_000, "nested more than 64 levels deep"),
        ("{a: " * 5000, "nested more than 64 levels deep"),
        ("x" * (MOST_YAML + 1), "it has 262,145 characters, and may have 262,144"),
        (f"a: &a {{x: 1}}\nb: {{<<: [{', '.join(['*a'] * 65)}]}}", "takes more than 64 others"),
        ("steps: 1\nb: 2\nsteps: 3", r"the key 'steps' stands twice \(lines 1 and 3\)"),
        ("a: {b: 1, b: 2}", "the key 'b' stands twice"),
    ],
)
def test_yaml_is_refused_quickly(text: str, words: str) -> None:
    begin = time.process_time()
    with pytest.raises(ValueError, match=words):
        parse_yaml(text)
    assert time.process_time() - begin < 2


def test_merged_mappings_stay_small() -> None:
    begin = time.process_time()
    with suppress(ValueError):  # PyYAML before 6.0.4 keeps what is merged twice: refused as large
        assert len(parse_yaml(MERGES)["a39"]) == 40
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:1:1", "1:1:1"),
        ("010", "010"),
        ("0o17", "0o17"),
        ("1_000", 1000),
        ("0x1F", 31),
        ("1e-3", 1e-3),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".inf", float("inf")),
        ("-7", -7),
        ("yes", True),
        ("~", None),
        ("{a: &x {b: 1}, c: {<<: *x, b: 2}}", {"a": {"b": 1}, "c": {"b": 2}}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("[" * 100_000 + "]" * 100_000, "nested more than 64 levels deep"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested more than 64 levels deep"),
        ("1" * 5000, "4300 digits"),
        ("{", "Expecting"),
    ],
)
def test_json_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)


@settings(max_examples=100, deadline=2000)
@given(st.text(alphabet="ab:-[]{}&*<!|>'\"#%@,\n 01.e~?", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        try:
            parse(text)
        except ValueError:
            continue


def test_a_manifest_knows_every_file(tmp_path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    require_intact(tmp_path, ("b",))  # of an earlier version
    seal(tmp_path / "inner")
    seal(tmp_path)
    names = [line.split("  ")[1] for line in (tmp_path / MANIFEST).read_text().splitlines()]
    assert names == ["b", f"inner/{MANIFEST}"]
    require_intact(tmp_path, ("b",))
    with pytest.raises(ValueError, match=r"SHA256SUMS is damaged \(it does not list c\)"):
        require_intact(tmp_path, ("b", "c"))
    (tmp_path / "inner" / "a").write_bytes(b"c")
    with pytest.raises(ValueError, match="a is damaged: it is not the file whose SHA-256"):
        require_intact(tmp_path, ())
    (tmp_path / "b").unlink()
    with pytest.raises(ValueError, match="b is missing, and"):
        require_intact(tmp_path, ())
    (tmp_path / MANIFEST).write_text("../x\n")
    with pytest.raises(ValueError, match="line 1 is no checksum"):
        require_intact(tmp_path, ())
