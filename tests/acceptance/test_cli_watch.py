"""The live view, as it stands on a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios

import pytest
from _quant import until

CODES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """``quant watch`` on a terminal of its own."""

    def __init__(self, quant, columns=80, lines=24):
        self.leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(follower)
        self.terminal = follower
        self.process = quant.start(
            "watch", stdin=follower, stdout=follower, stderr=follower, start_new_session=True
        )
        self.drawn = b""

    def read(self):
        while select.select([self.leader], [], [], 0)[0]:
            try:
                self.drawn += os.read(self.leader, 65536)
            except OSError:
                return

    def await_text(self, text):
        def shows():
            self.read()
            return text.encode() in CODES.sub(b"", self.drawn)

        until(shows)

    def press(self, key, then):
        self.drawn = b""
        os.write(self.leader, key.encode())
        self.await_text(then)

    def end(self):
        def ended():
            self.read()
            return self.process.poll() is not None

        until(ended)
        return self.process.returncode

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.leader)
        os.close(self.terminal)


@pytest.fixture
def screen(quant, slow):
    found = Screen(quant)
    yield found
    found.close()


def test_one_frame_is_for_pipes(quant, slow):
    quant("stage", "run", "demo.fail")
    counted = re.compile(r"running +demo\.slow +count +\d+ done")
    until(lambda: counted.search(quant("watch", "--once", COLUMNS="80").stdout))
    done = quant("watch", "--once", COLUMNS="80")
    assert done.returncode == 0
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert counted.search(done.stdout)
    assert re.search(r"failed +demo\.fail", done.stdout)
    assert "run_failed ValueError: boom" in done.stdout
    assert "\x1b" not in done.stdout
    rows = quant.json("watch", "--once", "--stage", "demo.slow")["runs"]
    assert [(row["stage_id"], row["state"], row["ended"]) for row in rows] == [
        ("demo.slow", "running", False)
    ]


def test_without_a_terminal_it_is_a_usage_error(quant):
    for args in (("watch",), ("watch", "--json")):
        done = quant(*args)
        assert done.returncode == 2
        assert "--once" in done.stdout + done.stderr


def test_an_unknown_stage_is_refused(quant):
    assert quant.json("watch", "--once", "--stage", "demo.slo", exits=2)["error"]["fix"]


def test_keys_pause_resume_and_cancel_the_marked_run(quant, slow, screen):
    screen.await_text("> running")
    screen.press("p", "> paused")
    assert quant.status("demo.slow")["control"]["directive"]["action"] == "pause"
    screen.press("r", "> running")
    screen.press("c", "? y/n")
    screen.press("n", "q quit")
    assert quant.status("demo.slow")["state"] == "running"
    screen.press("c", "? y/n")
    screen.press("y", "> cancelled")
    assert slow.wait(30) == 130
    os.write(screen.leader, b"q")
    assert screen.end() == 0
    assert termios.tcgetattr(screen.terminal) == screen.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_terminal_is_restored_whatever_ends_it(screen, number):
    screen.await_text("> running")
    assert termios.tcgetattr(screen.terminal) != screen.before
    screen.process.send_signal(number)
    assert screen.end() == 130
    assert termios.tcgetattr(screen.terminal) == screen.before
    assert b"\x1b[?1049l" in screen.drawn
    assert b"\x1b[?25h" in screen.drawn
