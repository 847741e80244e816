"""Run folders at a URL and their copies."""

import itertools

import pytest

import clbench
from clbench.engine.ray import RayCluster
from clbench.engine.remote import RemoteFolder
from clbench.errors import OptionError
from clbench.results import RunFolder
from tests.sweeps.cases import TINY


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/there"


def texts(folder):
    """Return the content of all files, by name."""
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
    remote = RemoteFolder(url)
    remote.put(mine)
    remote.put(tmp_path / "mine" / "b-2")
    assert texts(tmp_path / "there" / "a-1") == {"tasks": "1", "state/tasks": "s1"}
    write(tmp_path / "yours" / "a-1", old="0")
    RemoteFolder(url).fetch({"1", "3"}, tmp_path / "yours", checkpoints=False)
    assert texts(tmp_path / "yours") == {"a-1/tasks": "1"}
    RemoteFolder(url).fetch({"1"}, tmp_path / "theirs", checkpoints=True)
    assert texts(tmp_path / "theirs") == {"a-1/tasks": "1", "a-1/state/tasks": "s1"}
    (mine / "state" / "tasks").unlink()
    write(mine, tasks="10", state__later="s2")
    remote.put(mine)
    assert texts(tmp_path / "there" / "a-1") == {"tasks": "10", "state/later": "s2"}


def test_only_what_has_changed_is_put(tmp_path, url):
    mine = tmp_path / "a-1"
    write(mine, one="1", two="2")
    remote = RemoteFolder(url)
    remote.put(mine)
    for path in (tmp_path / "there" / "a-1").iterdir():
        path.write_text("as it was", encoding="utf-8")
    write(mine, two="22")
    remote.put(mine)
    assert texts(tmp_path / "there" / "a-1") == {"one": "as it was", "two": "22"}


def test_an_interrupted_copy_can_be_resumed_from(tmp_path, url, monkeypatch):
    """Whenever a machine is lost, run.json never promises what is missing, and checkpoints come after it."""
    for stop in itertools.count():
        mine, remote = tmp_path / str(stop) / "a-1", RemoteFolder(f"{url}-{stop}")
        started = {"tasks.csv": "1", "run.json": "running", "state/job-0/1.state": "s1"}
        write(mine, **{name.replace("/", "__"): text for name, text in started.items()})
        remote.put(mine)
        (mine / "state" / "job-0" / "1.state").unlink()
        write(mine, **{"run.json": "complete", "tasks.csv": "2", "curves.png": "c"})
        calls = itertools.count()
        files = remote._files
        for name in ("mv", "rm_file"):
            monkeypatch.setattr(files, name, _failing(getattr(files, name), calls, stop))
        try:
            remote.put(mine)
        except ConnectionError:
            files_there = texts(tmp_path / f"there-{stop}" / "a-1")
            assert (
                files_there["run.json"] == "running"
                or files_there["tasks.csv"] + files_there["curves.png"] == "2c"
            )
            assert files_there["run.json"] == "complete" or files_there["state/job-0/1.state"] == "s1"
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


def test_a_sweep_that_is_completed_elsewhere(tmp_path, url, monkeypatch, inline, capsys):
    monkeypatch.chdir(tmp_path)
    what = {**TINY, "seeds": 1, "cell": [{"agent": "agents.vanilla"}]}
    done = clbench.sweep(what, out="elsewhere")
    (run,) = done.results.runs["run"]
    RemoteFolder(f"{url}/tiny").put(RunFolder(tmp_path / run).path)
    pytest.importorskip("ray")
    monkeypatch.setattr(RayCluster, "__call__", lambda self, runs, *_: print(len(runs)))
    there = clbench.sweep(what, out=url, launcher="ray")
    assert there.folder.as_posix() == "results/tiny"
    assert capsys.readouterr().out == "0\n"  # runs that were left
    assert there.results.tasks["accuracy"].tolist() == done.results.tasks["accuracy"].tolist()


def test_what_cannot_be_used():
    with pytest.raises(OptionError, match=r'nowhere://x.*pip install "clbench\[ray\]"'):
        RemoteFolder("nowhere://x")
    with pytest.raises(OptionError, match=r"'file:///x'.*\bray\b"):
        clbench.sweep({**TINY, "cell": [{"agent": "agents.vanilla"}]}, out="file:///x")
