"""The verbs of an operator beside a real server of two workers, and without one."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.cli import node
from integration.verbs import SECRET, listed, make, run, run_json, send, send_to_both, wait_until_idle
from servers import Authority, Gatepost, wait_for

STRANGER = "0" * 16


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Gatepost]:
    server = make(tmp_path_factory.mktemp("operating"), authority)
    # Known to the server alone: a configuration with one route is wrong there, and good here.
    server.environment["GATEPOST_ROUTE__1__IDLE"] = "10s"
    server.add_account("tim", "*@example.org", secret=SECRET)
    with server:
        yield server


@pytest.fixture
def server(running: Gatepost) -> Gatepost:
    """Return the server, with an empty queue."""

    def is_empty() -> bool:
        run(running, "queue", "hold", "--all")
        run(running, "queue", "drop", "--all-held", "--silent")
        return not listed(running)

    wait_for("an empty queue", is_empty)
    run(running, "route", "resume", "away")
    return running


def test_a_server_is_healthy_and_says_how_it_is(server: Gatepost) -> None:
    assert run(server, "health") == (0, "healthy\n", "")
    assert run_json(server, "health") == {"ok": True, "problems": []}
    status = run_json(server, "status")
    assert status["running"]
    assert status["troubles"] == []
    assert [(row["worker"], row["spools"], row["generation"] >= 1) for row in status["workers"]] == [
        (0, [0], True),
        (1, [1], True),
    ]
    assert len({row["pid"] for row in status["workers"]}) == 2
    assert status["free_bytes"] > status["reserve_bytes"] > 0
    code, text, trouble = run(server, "status")
    assert (code, trouble) == (0, "")
    assert "free space:" in text


def test_health_costs_little(server: Gatepost) -> None:
    """A container runs it all day long."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "gatepost", "health", "--config", str(server.config)],
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not {"asyncio", "pydantic", "sqlite3", "ssl", "sqlalchemy"} & loaded


def test_mail_of_all_workers_is_held_released_and_dropped(server: Gatepost) -> None:
    names = send_to_both(server)
    code, text, trouble = run(server, "queue", "hold", "--to-domain", "example.net", "--dry-run")
    assert (code, text.split(), trouble) == (0, names, f"would be held: {len(names)}\n")
    assert listed(server, "--held") == []

    code, text, trouble = run(server, "queue", "hold", "--to-domain", "example.net")
    assert (code, sorted(text.split()), trouble) == (0, names, f"held: {len(names)}\n")
    assert listed(server, "--held") == names
    assert f"{names[0]}: is on hold already\n" in run(server, "queue", "hold", names[0])[2]
    assert sum(row["held"] for row in run_json(server, "status")["spools"]) == len(names)
    assert run(server, "queue", "hold", "--all")[0] == 1, "nothing is left to do"

    code, text, _ = run(server, "queue", "release", names[0])
    assert (code, text) == (0, f"{names[0]}\n")
    assert listed(server, "--not-held") == [names[0]]

    rows = run_json(server, "queue", "drop", "--all-held")
    assert sorted(row["id"] for row in rows if row["outcome"] == "done") == names[1:]
    bounces = run_json(server, "queue", "list", "--from", "<>")
    assert len(bounces) == len(names) - 1
    wait_until_idle(server)
    assert run(server, "queue", "drop", *names[:1], "--silent") == (0, f"{names[0]}\n", "dropped: 1\n")
    assert listed(server) == [row["id"] for row in bounces]


def test_what_cannot_be_done_is_told_for_each_message(server: Gatepost) -> None:
    name = send_to_both(server)[0]
    code, text, trouble = run(server, "queue", "release", name, STRANGER, "../nonsense")
    assert (code, text) == (1, "")
    assert trouble.splitlines() == [
        f"{name}: is not on hold",
        f"{STRANGER}: is not in the queue, or not any more",
        "../nonsense: is not in the queue, or not any more",
        "released: 0",
    ]
    code, text, _ = run(server, "queue", "drop", "--silent", name, STRANGER)
    assert (code, text) == (1, f"{name}\n"), "one of them was not there"


@pytest.mark.parametrize("verb", ["hold", "release", "retry", "drop"])
@pytest.mark.parametrize("words", [(), ("--dry-run",), ("--from", ""), ("--account", "")])
def test_an_empty_selection_is_wrong_use_and_never_everything(
    server: Gatepost, verb: str, words: tuple[str, ...]
) -> None:
    code, text, trouble = run(server, "queue", verb, *words)
    assert (code, text) == (2, "")
    assert "Name at least one message" in trouble


@pytest.mark.parametrize(
    "words",
    [
        ("queue", "drop", "--all"),
        ("queue", "hold", "--from", "not an address"),
        ("queue", "drop", "--to-domain", "a b"),
        ("queue", "hold", "--all-held"),
        ("route", "pause"),
        ("tail", "--level", "loud"),
        ("backup",),
    ],
)
def test_wrong_use_is_told(server: Gatepost, words: tuple[str, ...]) -> None:
    assert run(server, *words)[0] == 2


def test_mail_is_selected_by_account_and_sender(server: Gatepost) -> None:
    name = send(server)
    assert listed(server, "--account", "tim") == [name]
    assert listed(server, "--account", "ann") == []
    assert run(server, "queue", "hold", "--account", "ann")[0] == 1
    assert run(server, "queue", "hold", "--account", "tim", "--from", "@example.com")[0] == 1
    assert run(server, "queue", "hold", "--account", "tim", "--from", "@example.org")[1] == f"{name}\n"


def test_mail_is_tried_now_instead_of_later(server: Gatepost) -> None:
    name = send(server)
    wait_for("its first attempt", lambda: run_json(server, "queue", "show", name)["attempts"] == 1)
    assert run(server, "queue", "retry", name)[0] == 0
    wait_for("its second attempt", lambda: run_json(server, "queue", "show", name)["attempts"] == 2)


def test_a_route_is_paused_by_hand_also_over_a_restart(server: Gatepost) -> None:
    assert run(server, "route", "pause", "box") == (0, "box\n", "")
    assert run(server, "route", "pause", "box") == (1, "", "box: is paused by hand already\n")
    name = send(server, "bob@box.example")
    assert server.stop() == 0
    states = {row["route"]: row["state"] for row in run_json(server, "route", "list")}
    assert states == {"box": "paused by hand", "away": "not running"}

    server.start()
    states = {row["route"]: row["state"] for row in run_json(server, "route", "list")}
    assert states["box"] == "paused by hand"
    assert listed(server) == [name]
    assert not list((server.folder / "box").glob("*.eml"))

    assert run(server, "route", "resume", "box") == (0, "box\n", "")
    wait_for("the message in the box", lambda: list((server.folder / "box").glob("*.eml")))
    assert run(server, "route", "resume", "box") == (1, "", "box: is not paused\n")
    assert run_json(server, "route", "pause", "box") == {"route": "box", "changed": True, "troubles": []}
    assert run_json(server, "route", "resume", "box") == {"route": "box", "changed": True, "troubles": []}
    assert run_json(server, "route", "resume", "box") == {"route": "box", "changed": False, "troubles": []}


def test_a_route_that_is_none_is_told_with_those_there_are(server: Gatepost) -> None:
    for verb in ("pause", "resume"):
        assert run(server, "route", verb, "bux") == (1, "", "bux: is no route; there are: box, away\n")


def test_a_route_that_waits_for_its_next_hop_is_shown_with_its_trouble(server: Gatepost) -> None:
    for _ in range(3):
        send(server)

    def away() -> Any:
        (row,) = [row for row in run_json(server, "route", "list") if row["route"] == "away"]
        return row if row["state"] == "waiting" else None

    row = wait_for("a route that waits", away)
    assert "Connection refused" in row["reason"]
    assert row["until"]
    assert "waiting" in run(server, "status")[1]


@contextlib.contextmanager
def following(server: Gatepost, *words: str) -> Iterator[Path]:
    """Follow events in a process of its own; yields the file in which they come."""
    out, trouble = server.folder / "tail.out", server.folder / "tail.err"
    with out.open("wb") as file, trouble.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "gatepost", "tail", *words, "--config", str(server.config)],
            stdout=file,
            stderr=errors,
            # Whoever runs the tests in the background of a shell ignores it, and so would the child.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        wait_for("the tail to follow both", lambda: trouble.read_text().count("following worker") == 2)
        yield out
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_what_happens_is_followed_in_all_workers(server: Gatepost) -> None:
    with following(server, "--login", "tim") as out:
        names = send_to_both(server)
        for name in names:
            wait_for("each message", lambda name=name: f"message={name}" in out.read_text())
        run(server, "queue", "drop", "--silent", names[0])
        wait_for("the end of one", lambda: f"message dropped by hand  message={names[0]}" in out.read_text())
    with following(server, "--message", names[1], "--json") as out:
        send(server)
        run(server, "queue", "hold", names[1])
        wait_for("the hold", lambda: names[1] in out.read_text())
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert {row["message"] for row in rows} == {names[1]}


def test_a_worker_that_comes_back_is_followed_again(server: Gatepost) -> None:
    with following(server, "--json") as out:
        (victim,) = [row["pid"] for row in run_json(server, "status")["workers"] if row["worker"] == 1]
        os.kill(victim, signal.SIGKILL)
        trouble = out.with_name("tail.err")
        wait_for("its return", lambda: trouble.read_text().count("following worker 1") == 2)
        assert "worker 1 ended" in trouble.read_text()
        run(server, "route", "pause", "box")
        wait_for("the pause", lambda: "route changed by hand" in out.read_text())
        run(server, "route", "resume", "box")


def test_a_changed_configuration_is_taken_up_by_all_workers(server: Gatepost) -> None:
    before = {row["worker"]: row["generation"] for row in run_json(server, "status")["workers"]}
    told = run_json(server, "reload")
    assert told == {
        "ok": True,
        "reloaded": {str(number): generation + 1 for number, generation in before.items()},
        "problems": [],
        "waits_for_restart": [],
    }


def test_what_waits_for_a_restart_is_named(server: Gatepost) -> None:
    text = server.config.read_text()
    server.config.write_text(text.replace("workers = 2", "workers = 3", 1))
    try:
        code, told, remarks = run(server, "reload")
        assert (code, len(told.splitlines())) == (0, 2)
        line = text[: text.index("workers = 2")].count("\n") + 1
        assert remarks == f"{server.config}:{line}: workers: changed, and takes effect at the next restart only\n"
        assert len(run_json(server, "reload")["waits_for_restart"]) == 1, "it still does"
    finally:
        server.config.write_text(text)
        run(server, "reload")
    assert [row["waits_for_restart"] for row in run_json(server, "status")["workers"]] == [[], []]


def test_a_configuration_that_is_wrong_is_told_and_the_server_is_not_asked(server: Gatepost) -> None:
    good = server.config.read_text()
    before = [row["generation"] for row in run_json(server, "status")["workers"]]
    try:
        server.config.write_text(f"{good}\n[nonsense]\n")
        code, text, trouble = run(server, "reload")
    finally:
        server.config.write_text(good)
    assert (code, text) == (1, "")
    assert trouble == run_check(server, f"{good}\n[nonsense]\n")
    assert [row["generation"] for row in run_json(server, "status")["workers"]] == before
    assert run(server, "health")[0] == 0


def run_check(server: Gatepost, text: str) -> str:
    good = server.config.read_text()
    try:
        server.config.write_text(text)
        return run(server, "check")[2]
    finally:
        server.config.write_text(good)


def test_a_reload_that_the_server_refuses_is_told(server: Gatepost) -> None:
    good = server.config.read_text()
    first, second = good.index("[[route]]"), good.rindex("[[route]]")
    try:
        server.config.write_text(good[:first] + good[second:])
        assert run(server, "check")[0] == 0
        code, text, trouble = run(server, "reload")
        assert (code, text) == (1, "")
        assert "route" in trouble
        assert len(trouble.splitlines()) == len(set(trouble.splitlines())), "both workers say the same"
        status = run_json(server, "status")
        assert {row["reload_error"] for row in status["workers"]} == {trouble.rstrip()}
        assert run(server, "status")[0] == 1
        assert [row["route"] for row in run_json(server, "route", "list")] == ["box", "away"]
    finally:
        server.config.write_text(good)
    assert run(server, "reload")[0] == 0
    assert run_json(server, "status")["troubles"] == []


def test_a_worker_that_does_not_answer_is_told_by_every_verb(server: Gatepost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_QUICK", 4.0)
    monkeypatch.setattr(node, "_PATIENCE", 4.0)
    name = send_to_both(server)[0]
    (stopped,) = [row["pid"] for row in run_json(server, "status")["workers"] if row["worker"] == 1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        code, text, trouble = run(server, "health", "--timeout", "4")
        assert (code, text) == (1, "")
        assert trouble.startswith("worker 1 does not answer")
        code, _, trouble = run(server, "status")
        assert code == 1
        assert "worker 1 does not answer" in trouble
        rows = run_json(server, "queue", "hold", name, STRANGER)
        outcomes = {row["id"]: row["outcome"] for row in rows}
        assert outcomes[STRANGER] == "no answer", "it may be there"
        assert outcomes[name] in ("done", "no answer")
    finally:
        os.kill(stopped, signal.SIGCONT)
    wait_for("health", lambda: run(server, "health")[0] == 0)


def test_a_worker_that_died_is_missed_until_another_takes_its_place(server: Gatepost) -> None:
    (victim,) = [row["pid"] for row in run_json(server, "status")["workers"] if row["worker"] == 0]
    os.kill(victim, signal.SIGKILL)
    wait_for("another in its place", lambda: run(server, "health")[0] == 0)
    workers = run_json(server, "status")["workers"]
    assert [row["worker"] for row in workers] == [0, 1]
    assert victim not in {row["pid"] for row in workers}


def test_with_no_server_the_files_are_changed(tmp_path: Path, authority: Authority) -> None:
    server = make(tmp_path / "server", authority)
    server.add_account("tim", "*@example.org", secret=SECRET)
    for words in (("queue", "hold", "--all"), ("route", "pause", "away")):
        code, text, trouble = run(server, *words)
        assert (code, text) == ((1, "") if words[0] == "queue" else (0, "away\n")), trouble
    with server:
        names = send_to_both(server)
    assert run(server, "health")[0] == 1
    assert run_json(server, "status")["running"] is False
    assert "nothing to reload" in run(server, "reload")[2]
    assert "no server runs" in run(server, "tail")[2]

    assert listed(server) == names
    code, text, _ = run(server, "queue", "hold", "--all")
    assert (code, text.split()) == (0, names)
    assert run(server, "queue", "drop", names[0])[0] == 0
    assert run(server, "queue", "release", "--all-held")[1].split() == names[1:]
    assert len(listed(server, "--from", "<>")) == 1
    assert names[0] not in listed(server)
    with server:
        assert set(names[1:]) <= set(listed(server)), "the server takes them up again"
        code, text, _ = run(server, "queue", "hold", *names[1:])
        assert (code, sorted(text.split())) == (0, names[1:])


def test_where_no_server_ever_ran_that_is_told(tmp_path: Path, authority: Authority) -> None:
    server = make(tmp_path / "server", authority)
    for words in (("queue", "hold", "--all"), ("route", "pause", "away"), ("route", "resume", "away")):
        code, text, trouble = run(server, *words)
        assert (code, text) == (1, "")
        assert "no server has run with this configuration yet" in trouble
    assert "does not exist" in run(server, "queue", "list")[2]
    assert run(server, "status")[0] == 1
    assert run(server, "route", "list")[0] == 0
    assert not (server.folder / "state").exists(), "looking makes nothing"


@pytest.mark.root
def test_root_leaves_nothing_behind_that_the_server_cannot_open(authority: Authority) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        server = make(Path(name) / "server", authority)
        state = server.folder / "state"
        state.mkdir(mode=0o700)
        os.chown(state, 65534, 65534)
        for words in (("route", "pause", "away"), ("status",), ("queue", "list")):
            done = subprocess.run(
                [sys.executable, "-m", "gatepost", *words, "--config", str(server.config)],
                capture_output=True,
                text=True,
            )
            assert done.returncode == (1 if words == ("status",) else 0), done.stderr
        done = subprocess.run(
            [sys.executable, "-m", "gatepost", "queue", "drop", STRANGER, "--config", str(server.config)],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{STRANGER}: is not in the queue" in done.stderr
        made = sorted(state.iterdir())
        assert [path.name for path in made] == ["lock", "paused-routes.json"]
        assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(65534, 65534)}
