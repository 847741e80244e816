"""Submissions: what passes, what is refused, and that ranks, table and page say what is so."""

import html
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st

from clbench.commands.main import main_of
from clbench.data import load_images
from clbench.errors import SubmissionError, UnknownNameError
from clbench.leaderboard.building import BEGIN, END, build, page, tables
from clbench.leaderboard.checking import IMAGES, check_about, check_entry, read_all
from clbench.leaderboard.ranking import rank
from clbench.leaderboard.submission import SUBMISSION_VERSION, About, check_name, read_entry
from clbench.scoring import estimate
from tests.cases import full_mnist
from tests.leaderboards import SOURCE, edit, edit_tasks, write_submission
from tests.test_intervals import by_hand

pytestmark = pytest.mark.process

HERE = Path(__file__).parent


@pytest.fixture
def place(tmp_path):
    return write_submission(tmp_path, "plain-one")


def checked(place):
    entry = read_entry(place)
    check_entry(entry)
    return entry


def set_at(*path, value):
    """Return a change of nested data."""

    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


def set_config(*path, value):
    """Return a change of the run's config."""
    return set_at("run", "config", *path, value=value)


def test_a_whole_submission_passes(place):
    entry = checked(place)
    assert entry.name == "plain-one"
    assert len(entry.records) == 45


def test_checksums_are_those_of_the_images():
    assert (len(load_images()), load_images().checksum) == IMAGES["embedded"]


@pytest.mark.skipif(full_mnist() is None, reason="CLBENCH_DATA_DIR names no full MNIST")
def test_checksums_are_those_of_all_images():
    data = load_images("torchvision", str(full_mnist()))
    assert (len(data), data.checksum) == IMAGES["torchvision"]


# What submission.json may not say.

BIDI, ZERO_WIDTH = "\u202e", "\u200b"
SAYINGS = {
    "later schema": (set_at("schema_version", value=SUBMISSION_VERSION + 1), r"schema_version 4\b.*\b3\b"),
    "no schema": (set_at("schema_version", value=True), r"submission\.json.*agent"),
    "other name": (set_at("name", value="other"), r"submission\.json.*'other'"),
    "unknown key": (set_at("score", value=1.0), r"submission\.json.*'score'"),
    "forged score": (set_at("scores", value={"slope": 1.0}), r"scores.*slope.*\b1\.0\b"),
    "missing key": (lambda data: data.pop("about"), r"submission\.json.*'about'"),
    "wrong kind": (set_config("seeds", value="0,1,2"), r"submission\.json.*seeds.*\blist\b"),
    "chosen seeds": (set_config("seeds", value=[0, 1, 7]), r"seeds.*\b0, 1, 2\b"),
    "twice a seed": (set_config("seeds", value=[0, 1, 1]), r"seeds.*\b0, 1, 2\b"),
    "few seeds": (set_config("seeds", value=[0, 1]), r"\b2 seeds.*\b3\b"),
    "more seeds than records": (set_config("seeds", value=[0, 1, 2, 3]), r"tasks\.csv.*\b14\b.*\b3\b"),
    "no protocol": (set_config("protocol", value="quik"), "'quik'.*'quick'"),
    "other protocol": (set_config("protocol", value="standard"), r"'num_tasks'.*\b15\b.*'standard'.*\b10\b"),
    "no stream": (set_config("stream", "id", value="../x"), r"'\.\./x'.*RandomLabelMNIST-v0"),
    "changed stream": (set_config("stream", "num_tasks", value=5), r"'num_tasks'.*\b5\b.*'quick'.*\b15\b"),
    "easier labels": (set_config("stream", "options", value={"relabel_fraction": 0.1}), r"'options'.*\b0\.1\b.*\b1\.0"),
    "null beside the stream": (set_config("stream", "extra", value=None), "stream.extra"),
    "other images": (set_at("run", "data", "sha256", value="0" * 64), "run.*'embedded'"),
    "no licence": (set_at("about", "licence", value=""), r"licence ''.*\bMIT\b"),
    "own licence": (set_at("about", "licence", value="mine"), r"licence 'mine'.*\bMIT\b"),
    "free cost": (set_at("cost", "relative_to_vanilla", value=0), r"cost.*\b0\b"),
    "no cost": (set_at("cost", value=None), r"cost.*missing"),
    "huge cost": (set_at("cost", "rounds", value=10**300), r"cost.*\b0\b"),
    "endless cost": (set_at("cost", "rounds", value=10**400), r"submission\.json.*10{10}"),
    "script in code": (set_at("about", "code", value="javascript:alert(1)"), r"code.*javascript:alert\(1\).*https://"),
    "quote in paper": (set_at("about", "paper", value='https://a.b/"onload="x'), r"paper.*https://a\.b/.*onload.*https://"),
    "look-alike host": (set_at("about", "code", value="https://gith\u0443b.com/x"), r"code.*gith\\u0443b\.com"),
    "punycode host": (set_at("about", "code", value="https://xn--github-2of.com/x"), r"code.*xn--github-2of\.com.*https://"),
    "credentials": (set_at("about", "code", value="https://me:secret@a.b/"), r"code.*me:secret@a\.b.*https://"),
    "formula": (set_at("about", "contact", value="=HYPERLINK(0)"), r"contact.*=HYPERLINK\(0\)"),
    "formula again": (set_at("about", "tuned", value="@SUM(1)"), r"tuned.*@SUM\(1\)"),
    "full-width formula": (set_at("about", "tuned", value="\uff1d1+1"), r"tuned.*\\uff1d1\+1"),
    "right to left": (set_at("about", "contact", value=f"me{BIDI}you"), r"contact.*me\\u202eyou"),
    "zero width": (set_at("about", "tuned", value=f"grid{ZERO_WIDTH} search"), r"tuned.*grid\\u200b"),
    "long contact": (set_at("about", "contact", value="x" * 201), r"contact.*\b201\b.*\b200\b"),
    "look-alike agent": (set_config("agent", "name", value="\u0430gents.l2"), r"agent.*\\u0430gents\.l2"),
    "path as agent": (set_config("agent", "name", value="../../etc/passwd"), r"agent.*\.\./\.\./etc/passwd"),
    "script as agent": (set_config("agent", "name", value="<script>"), r"agent.*<script>"),
    "path as file": (set_at("run", "agent_source", "file", value="../../setup.py"), r"submission\.json.*tasks\.csv"),
    "other hash": (set_at("run", "agent_source", "sha256", value="0" * 64), r"plain_one\.py.*SHA-256"),
    "no such class": (set_at("run", "agent_source", "class", value="plain_one:Other"), r"plain_one\.py.*'Other'"),
    "odd argument": (set_config("agent", "arguments", value={"a b": 1}), "agent.*'a b'"),
    "formula argument": (set_config("agent", "arguments", value={"a": "=1+1"}), r"arguments\.a\b.*=1\+1"),
    "other device": (set_config("device", value="mpsx"), "'device'.*cpu.*mps.*cuda"),
    "no threads": (set_config("threads", value=0), r"'threads'.*\b1024\b"),
    "bidi command": (set_at("run", "command", value=[f"x{BIDI}"]), r"run.*x\\u202e"),
    "no versions": (set_at("run", "versions", value={}), "'versions'.*clbench.*torch"),
}  # fmt: skip


def test_scores_that_older_submissions_state_must_be_right_and_are_not_shown(tmp_path):
    """The ends of their intervals are percentiles of a bootstrap; nobody can forge a rank or a table by them."""
    shutil.copytree(HERE / "data" / "leaderboard-1", tmp_path, dirs_exist_ok=True)
    place = tmp_path / "submissions" / "l2"
    right = checked(place).scores.average_task_accuracy
    edit(place, set_at("scores", "average_task_accuracy", "low", value=right.mean))
    (row,) = rank([checked(place)])
    assert row.score("average_task_accuracy") == right
    for name, value in (("average_task_accuracy", right.mean + 0.001), ("slope", 1.0), ("slope", True)):
        shutil.copytree(HERE / "data" / "leaderboard-1", tmp_path, dirs_exist_ok=True)
        edit(place, set_at("scores", name, "mean", value=value))
        with pytest.raises(SubmissionError, match=name):
            checked(place)


@pytest.mark.parametrize("saying", SAYINGS)
def test_what_is_said_must_be_so(place, saying):
    change, fault = SAYINGS[saying]
    edit(place, change)
    kind = UnknownNameError if saying in ("no protocol", "no stream") else SubmissionError
    with pytest.raises(kind, match=fault):
        checked(place)


UNREAD = r"submission\.json(?!.*schema_version)"  # refused before anybody looks for that
RAW = {
    "no JSON": ("{", r"submission\.json.*JSON"),
    "no object": ("[]", r"submission\.json(?!.*schema_version).*\bobject\b"),
    "twice": ('{"name": "a", "name": "b"}', UNREAD),
    "NaN": ('{"cost": NaN}', r"submission\.json.*\bNaN\b"),
    "infinity": ('{"cost": -Infinity}', r"submission\.json.*-Infinity\b"),
    "overflow": ('{"cost": 1e999}', UNREAD),
    "endless digits": ('{"cost": ' + "9" * 10_000 + "}", r"submission\.json"),
    "nested bomb": ("[" * 30_000 + "]" * 30_000, UNREAD),
    "nested objects": ('{"a":' * 20 + "1" + "}" * 20, r"submission\.json"),
    "huge": ('{"a": "' + "x" * 70_000 + '"}', r"submission\.json.*\b70,009\b.*\b65,536\b"),
    "not UTF-8": (b"\xff\xfe{}", r"submission\.json.*UTF-8"),
}


@pytest.mark.parametrize("kind", RAW)
def test_files_that_are_no_submission(place, kind):
    text, fault = RAW[kind]
    (place / "submission.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SubmissionError, match=fault):
        checked(place)


# What tasks.csv may not hold.

ROW = "plain_one.py:Agent,0,0,760,"
TABLES = {
    "no header": ("agent,seed", "agent;seed", r"tasks\.csv.*line 1.*'agent'"),
    "formula": (
        "plain_one.py:Agent",
        "=cmd|' /C calc'!A0",
        r"tasks\.csv.*seed 0.*task 0.*'plain_one\.py:Agent'",
    ),
    "formula in a number": (ROW, "plain_one.py:Agent,=1+1,0,760,", r"line 2.*seed '=1\+1'"),
    "other digits": (ROW, "plain_one.py:Agent,\u0660,0,760,", r"line 2.*,\\u0660,"),
    "NaN": (",1.25,9.5", ",nan,9.5", "line 2.*,nan,"),
    "infinite": (",1.25,9.5", ",inf,9.5", "seed 0.*task 0.*loss inf"),
    "overflow": (",1.25,9.5", ",1e999,9.5", "line 2.*,1e999,"),
    "negative": (",1.25,9.5", ",1.25,-9.5", r"seed 0.*task 0.*-9\.5 seconds"),
    "no time": (",1.25,9.5", ",1.25,0.0", r"seed 0.*task 0.* 0\.0 seconds"),
    "too good": (ROW, ROW + "1", r"tasks\.csv.*[ ,]10\.5"),
    "cells too many": (",1.25,9.5", ",1.25,9.5,1", r"line 2.*\b9\b.*\b8\b"),
    "other steps": (ROW, "plain_one.py:Agent,0,0,759,", r"seed 0.*task 0.*\b759 steps.*\b760\b"),
    "a row missing": (
        re.compile(r"\nplain_one.py:Agent,1,3,.*"),
        "",
        r"tasks\.csv.*\b14\b.*\b2\b",
    ),
    "quotes": (ROW, '"' + ROW, r"tasks\.csv(?!.*\b14\b)"),
    "no share": (
        re.compile(r"760,0\.\d+"),
        "760,0.123456789",
        r"seed 0.*task 0.*accuracy 0\.123456789.*760.*256",
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_must_be_possible(place, kind):
    old, new, fault = TABLES[kind]
    if isinstance(old, str):
        edit_tasks(place, old, new)
    else:
        path = place / "tasks.csv"
        path.write_text(old.sub(new, path.read_text(encoding="utf-8"), count=1), encoding="utf-8")
    with pytest.raises(SubmissionError, match=fault):
        checked(place)


# What a folder may not be.


def test_names_cannot_lead_elsewhere():
    for name in ("..", "../x", "a/b", "A", "\u0430bc", "-a", "a-", "a b", "a" * 49, "", "<b>"):
        with pytest.raises(SubmissionError, match=rf"{re.escape(ascii(name))}.*\b48\b"):
            check_name(name)
    assert check_name("l2-per-layer") == "l2-per-layer"


def test_links_folders_and_other_files_are_refused(place, tmp_path):
    source = place / "plain_one.py"
    outside = tmp_path / "outside.py"
    outside.write_text(SOURCE, encoding="utf-8")
    unread = r"plain_one\.py(?!.*(SHA-256|UTF-8))"  # refused for what it is, not for what is in it
    for make, fault in (
        (lambda: source.symlink_to(outside), unread),
        (lambda: os.link(outside, source), unread),
        (source.mkdir, unread),
        (lambda: os.mkfifo(source), unread),
        (lambda: None, r"submission\.json.*tasks\.csv"),
        (
            lambda: source.write_text("x" * 300_000, encoding="utf-8"),
            r"plain_one\.py.*\b300,000\b.*\b262,144\b",
        ),
        (
            lambda: (place / "bomb.yaml").write_text("a: &a [*a]", encoding="utf-8"),
            r"submission\.json.*tasks\.csv",
        ),
    ):
        shutil.rmtree(source) if source.is_dir() else source.unlink(missing_ok=True)
        make()
        with pytest.raises(SubmissionError, match=fault):
            checked(place)


def test_more_files_than_there_may_be(place):
    (place / "bomb.yaml").write_text("a: &a [*a]", encoding="utf-8")
    with pytest.raises(SubmissionError, match=r"submission\.json.*tasks\.csv"):
        checked(place)


def test_a_link_to_a_folder_is_no_submission(place, tmp_path):
    (tmp_path / "submissions" / "linked").symlink_to(place)
    found = dict(read_all(tmp_path))
    assert isinstance(found["linked"], SubmissionError)
    assert "link" in str(found["linked"])
    assert not isinstance(found["plain-one"], Exception)


@pytest.mark.parametrize(
    "source", ["def f(:\n", "x = " + "(" * 5_000, "x = " + "1+" * 120_000 + "1", "class Other: ..."]
)
def test_sources_must_be_python_with_the_class(place, source):
    (place / "plain_one.py").write_text(source, encoding="utf-8")
    import hashlib

    edit(place, set_at("run", "agent_source", "sha256", value=hashlib.sha256(source.encode()).hexdigest()))
    with pytest.raises(SubmissionError, match=r"plain_one\.py.*(Python|'Agent')"):
        checked(place)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (f"x = 1  # {BIDI}x", r"plain_one\.py.*line 1\b"),
        (f"x{ZERO_WIDTH} = 1", r"plain_one\.py.*line 1\b"),
        ("# -*- coding: utf-7 -*-", r"plain_one\.py.*UTF-8.*utf-7"),
    ],
)
def test_sources_hold_what_their_readers_see(place, line, fault):
    import hashlib

    source = f"{line}\n{SOURCE}"
    (place / "plain_one.py").write_text(source, encoding="utf-8")
    edit(place, set_at("run", "agent_source", "sha256", value=hashlib.sha256(source.encode()).hexdigest()))
    with pytest.raises(SubmissionError, match=fault):
        checked(place)


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["con.py"], "con"),
        (["lib/NUL.py"], "NUL"),
        (["aux/net.py"], "aux"),
        (["net.py", "Net.py"], "net.py.*Net.py|Net.py.*net.py"),
        (["lib/a.py", "Lib/b.py"], "lib"),
        (["PLAIN_ONE.py"], r"plain_one\.py"),
        (["__init__.py"], r"__init__\.py"),
        (["lib/a.py/b.py"], r"a\.py/b\.py"),
    ],
)
def test_names_of_sources_are_the_same_files_everywhere(place, names, fault):
    entry = checked(place)
    source = replace(entry.submission.run.agent_source, neighbours=dict.fromkeys(names, "0" * 64))
    run = replace(entry.submission.run, agent_source=source)
    entry = replace(
        entry, submission=replace(entry.submission, run=run), neighbours=dict.fromkeys(names, "x = 1\n")
    )
    with pytest.raises(SubmissionError, match=f"^source file .*({fault})"):
        check_entry(entry)


def test_a_fault_of_ours_hides_no_other_submission(tmp_path, monkeypatch):
    write_submission(tmp_path, "a", 0.5)

    def broken(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("clbench.leaderboard.checking.check_entry", broken)
    found = dict(read_all(tmp_path))["a"]
    assert isinstance(found, SubmissionError)
    assert "ZeroDivisionError: oh" in str(found)


def test_duplicates_are_refused(tmp_path):
    first = write_submission(tmp_path, "first")
    second = tmp_path / "submissions" / "second"
    shutil.copytree(first, second)
    edit(second, set_at("name", value="second"))
    found = dict(read_all(tmp_path))
    assert isinstance(found["second"], SubmissionError)
    assert "results" in str(found["second"])
    assert "'first'" in str(found["second"])


@given(st.text(max_size=80))
@example("ogham\u1680space")
def test_texts_that_pass_are_harmless_in_html_and_tables(text):
    try:
        check_about(About(contact=text))
    except SubmissionError:
        return
    assert not text.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert text.replace("\u00a0", " ").isprintable()
    assert html.unescape(html.escape(text)) == text


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=30))
def test_addresses_that_pass_stay_inside_their_attribute(text):
    try:
        check_about(About(code="https://example.org/" + text))
    except SubmissionError:
        return
    assert not set(text) & set("\"'<>`()[]| ")


# Ranks.


def entries(tmp_path, **levels):
    return [read_entry(write_submission(tmp_path, name, level)) for name, level in levels.items()]


def test_who_cannot_be_told_apart_shares_a_rank(tmp_path):
    found = rank(entries(tmp_path, a=0.5, b=0.8, c=0.5001, d=0.2))
    assert (found[0].rank, found[0].entry.name) == (1, "b")
    assert {row.entry.name: row.rank for row in found} == {"b": 1, "a": 2, "c": 2, "d": 4}


@pytest.mark.parametrize("apart", [0.0, 0.5, 2.0])
def test_a_rank_counts_who_is_surely_better(apart, monkeypatch):
    monkeypatch.setattr(
        "clbench.leaderboard.ranking.board_of", lambda entry: ("PermutedMNIST-v0", "quick", "untuned")
    )
    rng = np.random.default_rng(round(apart))
    for _ in range(20):
        scores = {
            str(name): dict(enumerate(apart * name + rng.normal(size=4))) for name in rng.permutation(6)
        }
        made = [
            SimpleNamespace(
                name=name,
                by_seed={"average_task_accuracy": values},
                scores=SimpleNamespace(average_task_accuracy=estimate(list(values.values()))),
            )
            for name, values in scores.items()
        ]
        found = rank(made)
        assert {row.entry.name: row.rank for row in found} == by_hand(scores)
        means = [row.score("average_task_accuracy").mean for row in found]
        assert means == sorted(means, reverse=True)


def test_tuned_and_untuned_streams_and_protocols_are_ranked_apart(tmp_path):
    entries = [
        read_entry(write_submission(tmp_path, "free", 0.5)),
        read_entry(write_submission(tmp_path, "tuned", 0.6, tuned="grid over step sizes")),
        read_entry(write_submission(tmp_path, "moved", 0.7, id="PermutedMNIST-v0")),
        read_entry(write_submission(tmp_path, "long", 0.4, protocol="standard")),
    ]
    for entry in entries:
        check_entry(entry)
    assert [row.rank for row in rank(entries)] == [1, 1, 1, 1]
    assert [row.board[0] for row in rank(entries)] == ["RandomLabelMNIST-v0"] * 3 + ["PermutedMNIST-v0"]
    assert [row.board[1:] for row in rank(entries)[:3]] == [
        ("standard", "untuned"), ("quick", "untuned"), ("quick", "tuned"),
    ]  # fmt: skip


# Who is told boundaries.

HIDE = set_config("stream", "boundaries", value="hidden")


def test_it_is_marked_who_is_told_boundaries(tmp_path):
    hidden, told, older = (
        write_submission(tmp_path, name) for name in ("hidden-one", "told-one", "older-one")
    )
    edit(hidden, HIDE)
    edit(older, lambda data: data["run"]["config"]["stream"].pop("boundaries"))
    rows = rank([checked(place) for place in (hidden, told, older)])
    assert len({row.board for row in rows}) == 1
    marked = {row.entry.name: row.boundaries for row in rows}
    assert marked == {"hidden-one": "hidden", "told-one": "told", "older-one": "told"}
    for name, choice in marked.items():
        (line,) = [line for line in tables(rows).splitlines() if f"| {name} |" in line]
        assert line.count(f"| {choice} |") == 1
        (line,) = [line for line in page(rows).splitlines() if f"<summary>{name}</summary>" in line]
        assert f'class="boundaries" data-value="{choice}">{choice}</td>' in line


def test_an_agent_is_ranked_once_with_boundaries_told_and_once_hidden(tmp_path):
    first, second = write_submission(tmp_path, "one"), write_submission(tmp_path, "two", level=0.6)
    shutil.copy(first / "one.py", second / "one.py")
    (second / "two.py").unlink()
    source = read_entry(first).submission.to_json()
    (second / "submission.json").write_text(
        source.replace('"name": "one"', '"name": "two"'), encoding="utf-8"
    )
    edit_tasks(second, "two.py", "one.py", count=-1)
    found = dict(read_all(tmp_path))
    assert isinstance(found["two"], SubmissionError)
    edit(second, HIDE)
    assert not any(isinstance(entry, Exception) for _, entry in read_all(tmp_path))


def test_boundaries_are_told_or_hidden(tmp_path, place):
    edit(place, set_config("stream", "boundaries", value="guessed"))
    with pytest.raises(SubmissionError, match="'guessed'"):
        read_entry(place)


# Table and page.


def mean_and_error(row):
    values = [np.mean([one.accuracy for one in row.entry.records if one.seed == seed]) for seed in range(3)]
    return np.mean(values), scipy.stats.sem(values)


def test_the_table_stands_between_its_markers(tmp_path):
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    rows = rank(entries(tmp_path, a=0.5, b=0.8))
    build(tmp_path, rows)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "\nold\n" not in text
    low, high = scipy.stats.t.interval(0.95, 2, *mean_and_error(rows[0]))
    assert (
        f"| 1 | b | 3 | {rows[0].score('average_task_accuracy').mean:.3f} [{low:.3f}, {high:.3f}] |" in text
    )
    (line,) = [line for line in text.splitlines() if "3 seeds" in line]  # why rows tie
    assert text.index("| 2 | a |") < text.index(line)
    build(tmp_path, rows)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text
    (tmp_path / "README.md").write_text("no markers", encoding="utf-8")
    with pytest.raises(SubmissionError, match=f"README.md.*{re.escape(BEGIN)}.*{re.escape(END)}"):
        build(tmp_path, rows)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "no markers"


def test_whatever_is_said_is_text_on_the_page(tmp_path):
    entry = read_entry(write_submission(tmp_path, "a", 0.5))
    nasty = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    run = replace(entry.submission.run, command=(nasty,))
    said = replace(entry.submission, about=About(contact=nasty, tuned=nasty), run=run)
    text = page(rank([replace(entry, submission=said)]))
    assert "<script>alert" not in text
    assert "<img" not in text
    assert text.count(html.escape(nasty)) >= 2
    assert text.count("<script>") == 1


def test_the_page_asks_for_nothing(tmp_path):
    text = page(rank(entries(tmp_path, a=0.5)))
    assert "default-src 'none'" in text
    assert not re.search(r"<link|@import|url\(|<iframe|fetch\(|<img", text)
    assert re.findall(r'src="', text) == []
    assert len(tables([]).splitlines()) == 1
    assert "|" not in tables([])


# Command line.


def test_check_tells_all_faults_and_build_refuses(tmp_path, capsys):
    write_submission(tmp_path, "good", 0.5)
    edit(write_submission(tmp_path, "bad", 0.6), set_at("about", "licence", value="none"))
    (tmp_path / "submissions" / "\xe4").mkdir()
    folder = ["--folder", str(tmp_path)]
    assert main_of("leaderboard", ["check", *folder]) == 1
    out, err = capsys.readouterr()
    assert re.findall(r"\d+", out) == ["3", "2"]
    assert len(out.splitlines()) == 1
    bad, odd = err.splitlines()
    assert re.match(r"error: bad\b.*licence 'none'.*\bMIT\b", bad)
    assert re.match(r"error: \\xe4\b.*'\\xe4'.*\b48\b", odd)
    assert main_of("leaderboard", ["build", *folder]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"error: bad\b.*licence 'none'", line)
    assert not (tmp_path / "index.html").exists()
    for name in ("bad", "\xe4"):
        shutil.rmtree(tmp_path / "submissions" / name)
    assert main_of("leaderboard", ["check", *folder]) == 0
    assert main_of("leaderboard", ["build", *folder]) == 0
    assert (tmp_path / "index.html").exists()


def test_no_leaderboard_at_all(tmp_path, capsys):
    assert main_of("leaderboard", ["check", "--folder", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert re.findall(r"\d+", line) == ["0"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ["command"]),
        (["chekc"], ["'chekc'", "check"]),
        (["submit", "nowhere"], ["--name"]),
        (["submit", "nowhere", "--name", "a"], ["'nowhere'"]),
        (["verify", "--tasks", "x", "a"], ["--tasks", "'x'"]),
    ],
)
def test_usage(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main_of("leaderboard", arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert not [part for part in named if part not in err], err
    assert err.count("\n") == 1


# Formats of old.


@pytest.mark.parametrize("version", [1, 2, 3])
def test_todays_formats_keep_loading(version):
    """Whatever comes later: a submission of any schema loads, passes and scores the same."""
    entry = dict(read_all(HERE / "data" / f"leaderboard-{version}"))["l2"]
    assert not isinstance(entry, Exception), entry
    assert entry.submission.schema_version == version
    assert entry.submission.about.licence == "MIT"
    average = rank([entry])[0].score("average_task_accuracy")
    assert (average.mean, average.low) == pytest.approx((0.39217, 0.267), abs=1e-3)


def test_a_run_recorded_by_hand_is_marked_and_not_repeated(tmp_path, capsys):
    place = write_submission(tmp_path, "by-hand")
    edit(place, set_at("run", "recorded", value="by hand"))
    edit(place, set_at("run", "agent_source", "class", value=""))
    edit(place, set_at("cost", value=None))
    rows = rank([checked(place)])
    assert "by-hand (unverified)" in tables(rows)
    assert "by-hand (unverified)" in page(rows)
    assert main_of("leaderboard", ["verify", "by-hand", "--folder", str(tmp_path)]) == 1
    assert "by hand" in capsys.readouterr().err
