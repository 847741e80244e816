"""Run folders at a URL and their copies."""

import itertools

import pytest

import clbench
from clbench.errors import OptionError
from clbench.results import RunFolder
from clbench.sweeping.store import Store
from tests.sweeping.conftest import TINY


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/there"


def texts(folder):
    """Content by name of all files."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def test_a_folder_and_its_copy(tmp_path, url):
    mine = tmp_path / "mine" / "a-1"
    write(mine, tasks="1", state__lock="", state__tasks="s1", **{".tasks.partial": "half"})
    write(tmp_path / "mine" / "b-2", run="2")
    store = Store(url)
    store.put(mine)
    store.put(tmp_path / "mine" / "b-2")
    assert texts(tmp_path / "there" / "a-1") == {"tasks": "1", "state/tasks": "s1"}
    write(tmp_path / "yours" / "a-1", old="0")
    Store(url).fetch({"1", "3"}, tmp_path / "yours", states=False)
    assert texts(tmp_path / "yours") == {"a-1/tasks": "1"}
    Store(url).fetch({"1"}, tmp_path / "theirs", states=True)
    assert texts(tmp_path / "theirs") == {"a-1/tasks": "1", "a-1/state/tasks": "s1"}
    (mine / "state" / "tasks").unlink()
    write(mine, tasks="10", state__later="s2")
    store.put(mine)
    assert texts(tmp_path / "there" / "a-1") == {"tasks": "10", "state/later": "s2"}


def test_only_what_has_changed_is_put(tmp_path, url):
    mine = tmp_path / "a-1"
    write(mine, one="1", two="2")
    store = Store(url)
    store.put(mine)
    for path in (tmp_path / "there" / "a-1").iterdir():
        path.write_text("as it was", encoding="utf-8")
    write(mine, two="22")
    store.put(mine)
    assert texts(tmp_path / "there" / "a-1") == {"one": "as it was", "two": "22"}


def test_what_is_broken_off_can_be_gone_on_with(tmp_path, url, monkeypatch):
    """Whenever a machine is lost, run.json never promises what is not there, and states come after it."""
    for stop in itertools.count():
        mine, store = tmp_path / str(stop) / "a-1", Store(f"{url}-{stop}")
        begun = {"tasks.csv": "1", "run.json": "running", "state/job-0/1.state": "s1"}
        write(mine, **{name.replace("/", "__"): text for name, text in begun.items()})
        store.put(mine)
        (mine / "state" / "job-0" / "1.state").unlink()
        write(mine, **{"run.json": "complete", "tasks.csv": "2", "curves.png": "c"})
        calls = itertools.count()
        files = store._files
        for name in ("mv", "rm_file"):
            monkeypatch.setattr(files, name, _failing(getattr(files, name), calls, stop))
        try:
            store.put(mine)
        except ConnectionError:
            found = texts(tmp_path / f"there-{stop}" / "a-1")
            assert found["run.json"] == "running" or found["tasks.csv"] + found["curves.png"] == "2c"
            assert found["run.json"] == "complete" or found["state/job-0/1.state"] == "s1"
        else:
            break
        finally:
            monkeypatch.undo()
    assert stop == 4


def _failing(do, calls, stop):
    def attempt(*arguments):
        if next(calls) == stop:
            raise ConnectionError
        return do(*arguments)

    return attempt


def test_a_sweep_that_is_finished_elsewhere(tmp_path, url, monkeypatch, inline, capsys):
    monkeypatch.chdir(tmp_path)
    what = {**TINY, "seeds": 1, "cell": [{"agent": "agents.vanilla"}]}
    done = clbench.sweep(what, out="elsewhere")
    (run,) = done.results.runs["run"]
    Store(f"{url}/tiny").put(RunFolder(tmp_path / run).path)
    pytest.importorskip("ray")
    monkeypatch.setattr("clbench.sweeping.ray.Ray.__call__", lambda self, sweep, cells, *_: print(len(cells)))
    found = clbench.sweep(what, out=url, launcher="ray")
    assert found.folder.as_posix() == "results/tiny"
    assert capsys.readouterr().out == "0\n"  # cells that were left
    assert found.results.tasks["accuracy"].tolist() == done.results.tasks["accuracy"].tolist()


def test_what_cannot_be_used():
    with pytest.raises(OptionError, match=r'nowhere://x.*pip install "clbench\[ray\]"'):
        Store("nowhere://x")
    with pytest.raises(OptionError, match=r"'file:///x'.*\bray\b"):
        clbench.sweep({**TINY, "cell": [{"agent": "agents.vanilla"}]}, out="file:///x")
