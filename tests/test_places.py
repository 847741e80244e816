"""How paths of a machine are recorded, and that no file of the project has one."""

import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from clbench.places import DATA_DIR_VARIABLE, recorded, recorded_in
from tests.paths import words_in

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{home}/work/agents/own.py:Agent", "agents/own.py:Agent"),
        ("{home}/work", "."),
        ("{home}/work/../work/out", "out"),
        ("{home}/private/mine.py:Agent", "mine.py:Agent"),
        ("{home}/private", "DIR"),
        ("{home}/gone", "DIR"),
        ("{home}/images/MNIST", "DIR"),
        ("{home}/private/weights.safetensors", "weights.safetensors"),
        ("/home/j.doe", "DIR"),
        ("/home/someone/.venv/bin/python", "python"),
        ("--out={home}/private", "--out=DIR"),
        ("weights={home}/private/w.pt", "weights=w.pt"),
        ("a,{home}/private/mine.py:norm", "a,mine.py:norm"),
        ("cannot read {home}/private/w.pt: gone", "cannot read w.pt: gone"),
        ("cannot read '{home}/private/w.pt'", "cannot read 'w.pt'"),
        ("sqlite:///{home}/private/a.db", "sqlite:///a.db"),
        ("(TypeError, ip=10.0.0.7, 3)", "(TypeError, ip=HOST, 3)"),
        ("{home}/work/x is missing: look in {home}/secret/w.pt", "x is missing: look in w.pt"),
        ("{home}/work/a:{home}/b", "a:DIR"),
        ("--path={home}/work/a,{home}/b", "--path=a,DIR"),
        ("/cwd/x is missing: look in /home/alice/secret/w.pt", "DIR is missing: look in w.pt"),
        ("/cwd/a:/home/alice/b", "DIR:DIR"),
        ("'{home}/work/a is missing: look in {home}/b'", "'a is missing: look in DIR'"),
        ("{home}/a.pt: not found in the file", "a.pt: not found in the file"),
        ("/home/me/a.pt: not found in the file", "a.pt: not found in the file"),
        ("{home}/private/mine.py:12", "mine.py:12"),
        ("{home}/.local/lib/python3.12/site-packages/theirs/agent.py:Agent", "theirs/agent.py:Agent"),
        ("cannot read /data/Bob Jones/private/w.pt", "cannot read w.pt"),
        ("cannot read /data/Bob van Jones/a b/w.pt: gone", "cannot read w.pt: gone"),
        ("/data/Bob Jones/private is full", "DIR is full"),
        ("/data/bob/w.pt lacks fc1/weight", "w.pt lacks fc1/weight"),
        ("no {home}/my files/w.pt", "no w.pt"),
        ("no {home}/work/my files/w.pt", "no my files/w.pt"),
        ("{home}/private holds fc1/weight", "DIR holds fc1/weight"),
        ("look in {home}.", "look in DIR."),
        ("look in {home}.old/x", "look in DIR"),
        ("look for {home}/private/w.pt.", "look for w.pt."),
        ("-I/home/alice/include/x", "-IDIR"),
        ("cc -I/home/alice/include/x.so -O2", "cc -Ix.so -O2"),
        ("/srv/homes/john.doe", "DIR"),
        ("(/srv/homes/john.doe)", "(DIR)"),
        ("see </home/alice/x>", "see <DIR>"),
        ("<b>a</b> </table>", "<b>a</b> </table>"),
        ("PATH=/home/alice/bin:/home/bob/bin", "PATH=DIR:DIR"),
        ('File "{package}", line 3', 'File "clbench/places.py", line 3'),
        *[(text, text) for text in ("agents/l2.py:Agent", "../images", "~/images", "https://a.org/b/c.py")],
        *[
            (text, text)
            for text in ("steps/s", "1 / 2", "and/or", "s3://bucket/runs", "cuda:0", "2026-11-23T13:38:47")
        ],
        *[(text, text) for text in ("$CLBENCH_DATA_DIR/MNIST", "DIR", "", "mine.py:Agent")],
    ],
)
def test_the_rule(machine, text, expected):
    package = ROOT / "clbench" / "places.py"
    found = recorded(text.format(home=machine, package=package))
    assert found == expected
    assert recorded(found) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/fc1/weight", "/fc1/weight"),
        ('layer = "/fc1/weight"  # of /fc2/bias', 'layer = "/fc1/weight"  # of /fc2/bias'),
        ("{home}/private/w.pt", "w.pt"),
        ("{home}/private", "DIR"),
        ("/home/alice/w", "DIR"),
        ('weights = ["{home}/private/mine.py", "/fc1/weight"]', 'weights = ["mine.py", "/fc1/weight"]'),
    ],
)
def test_what_may_be_anything_is_recorded_otherwise_only_if_this_machine_has_such_a_folder(
    machine, text, expected
):
    assert recorded(text.format(home=machine), only_here=True) == expected
    data = {"agents": [{"name": "a", "arguments": {"layers": [text.format(home=machine)]}}]}
    assert recorded_in(data)["agents"][0]["arguments"]["layers"] == [expected]


def test_a_user_without_a_home_and_a_working_folder_that_is_gone(machine, monkeypatch):
    def nobody(_):
        raise KeyError

    (machine / "gone").mkdir()
    monkeypatch.chdir(machine / "gone")
    (machine / "gone").rmdir()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert recorded("/home/alice/mine.py:Agent") == "mine.py:Agent"
    assert recorded("no file /home/alice/secret/w.pt") == "no file w.pt"
    monkeypatch.setenv(DATA_DIR_VARIABLE, "images")
    assert recorded("/home/alice") == "DIR"


def test_what_the_variable_names_is_recorded_by_its_name(machine, monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(machine / "images"))
    assert recorded(str(machine / "images")) == f"${DATA_DIR_VARIABLE}"
    assert recorded(f"{machine}/images/MNIST") == f"${DATA_DIR_VARIABLE}/MNIST"
    assert recorded(f"no MNIST in {machine}/images/MNIST") == f"no MNIST in ${DATA_DIR_VARIABLE}/MNIST"
    assert recorded(f"{machine}/images-2") == "DIR"


@pytest.mark.parametrize("place", ["/", ".."])
def test_nothing_is_relative_to_what_homes_are_in(machine, monkeypatch, place):
    monkeypatch.chdir(machine / place)
    monkeypatch.setenv("HOME", str(machine / "private" / "home"))
    monkeypatch.chdir("/" if place == "/" else machine)
    assert recorded(f"{machine}/private") == "DIR"


def test_a_working_folder_behind_a_link(machine, monkeypatch):
    (machine / "link").symlink_to(machine / "work")
    monkeypatch.chdir(machine / "link")
    assert recorded(f"{machine}/link/agents") == "agents"
    assert recorded(f"{machine}/work/agents") == "agents"


def test_names_stay(machine):
    config = {"agents": [{"name": "/old/a.py", "arguments": {"name": f"{machine}/private", "rate": 0.1}}]}
    assert recorded_in(config)["agents"] == [{"name": "/old/a.py", "arguments": {"name": "DIR", "rate": 0.1}}]


# The project's files.

SOMEBODYS = re.compile(
    r"(?<![\w.$~<>-])(?:/(?:home|Users)/(?!me\b|someone\b|j\.doe\b)\w|/root\b|/work/|/tmp/|/mnt/|/private/var/|/var/folders/)"
    r"|\b[A-Za-z]:\\+Users\\"
)


ABSOLUTE = re.compile(  # what an option or a key says, but for the guides' example of a shared folder
    r"""--(?:data-dir|out|runs|folder)[ =]['"]?/(?!shared/)|['"]?\bdata_dir['"]? ?[:=] ?['"]/(?!shared/)"""
)


def tracked():
    """The files that git knows in this clone."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    # The clone may be another user's.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip(f"git does not list this clone's files: {listed.stderr.decode(errors='replace').strip()}")
    files = (ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name)
    return [path for path in files if path != Path(__file__) and path.is_file()]


def test_no_file_of_the_project_holds_a_path_of_somebodys_machine():
    found = []
    for path in tracked():
        text = path.read_bytes().decode("latin-1")
        if path.suffix == ".png":
            text = words_in(path)
        name = path.relative_to(ROOT)
        found += [f"{name}: {text[hit.start() : hit.start() + 60]!r}" for hit in SOMEBODYS.finditer(text)]
    assert found == []


def kept_texts(path):
    """All texts in a JSON or CSV file, keys too."""

    def texts(data):
        if isinstance(data, str):
            return [data]
        inner = [*data, *data.values()] if isinstance(data, dict) else data if isinstance(data, list) else []
        return [text for one in inner for text in texts(one)]

    whole = path.read_text(encoding="utf-8")
    return texts(json.loads(whole) if path.suffix == ".json" else list(csv.reader(whole.splitlines())))


@pytest.mark.docs
def test_no_kept_result_and_no_document_names_a_folder_of_one_machine():
    files = [path for path in tracked() if path.suffix in (".json", ".csv", ".md")]
    found = []
    for path in files:
        name = path.relative_to(ROOT)
        text = path.read_text(encoding="utf-8")
        found += [f"{name}: {text[hit.start() : hit.start() + 60]!r}" for hit in ABSOLUTE.finditer(text)]
        if path.suffix != ".md" and name.parts[0] in ("docs", "leaderboard"):
            found += [f"{name}: {one!r}" for one in set(kept_texts(path)) if recorded(one) != one]
    assert files
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        '"data_dir": "/srv/alice"',
        "data_dir='/data/alice'",
        "--data-dir /opt/x",
        "--out=/scratch/alice",
        "--runs '/data/x'",
    ],
)
def test_what_such_a_folder_looks_like(text):
    assert ABSOLUTE.search(text)
    assert not ABSOLUTE.search(text.replace("/", "shared/", 1))


@pytest.mark.parametrize("text", ["/data/alice/mnist", "/srv/alice", "/opt/x", "/scratch/alice"])
def test_kept_texts_are_not_such_folders(tmp_path, text):
    (tmp_path / "a.json").write_text(json.dumps({"a": [{text: 1}, 2]}), encoding="utf-8")
    (tmp_path / "a.csv").write_text(f'1,"--set weights={text}/w.pt"\n', encoding="utf-8")
    for name in ("a.json", "a.csv"):
        assert any(recorded(one) != one for one in kept_texts(tmp_path / name))
