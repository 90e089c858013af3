"""The live screen of `sampan top`: two threads ask, the main one draws and listens to keys."""

import os
import queue
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live

from sampan.cli.top_view import BARS, KEYS, PLAIN_BARS, Sort, View, lines
from sampan.sdk import Client, Denied, Now, SdkError
from sampan.sdk.extensions import PlatformStatus

TICK = 0.2  # seconds in which a key or a new width shows
AGAIN = 1.0  # seconds before a view that broke off is asked for anew
STATUS = 5.0  # seconds between looks at the platform's parts

News = Now | PlatformStatus | Exception


class Screen:
    """Runs until q or Ctrl-C."""

    def __init__(self, client: Client, sort: Sort, limit: int) -> None:
        self._client, self._sort, self._limit = client, sort, limit
        self._news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._over = threading.Event()
        self._status = PlatformStatus()
        self._trouble = ""
        self._now: Now | None = None

    def run(self) -> None:
        """Raises: SdkError, when nothing comes to begin with, or the key is refused."""
        for ask in (self._follow, self._look):
            threading.Thread(target=ask, name=f"top{ask.__name__}", daemon=True).start()
        try:
            self._first()
            with _keys() as keyboard, suppress(KeyboardInterrupt):
                self._draw(keyboard)
        finally:
            self._over.set()

    # ── drawing ──

    def _first(self) -> None:
        while self._now is None:
            self._take(self._news.get())

    def _draw(self, keyboard: int) -> None:
        console = Console(markup=False, highlight=False, emoji=False)
        bars = BARS if "utf" in console.encoding.lower() else PLAIN_BARS
        drawn: object = None
        with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                assert self._now is not None
                shown = (self._now.time, self._trouble, self._sort, self._status, console.size)
                if shown != drawn:
                    told = self._status
                    view = View(self._now, told.platform, self._trouble, self._sort, bars, told.functions)
                    live.update(Group(*lines(view, console.width, console.height)), refresh=True)
                    drawn = shown
                if not self._listen(keyboard):
                    return

    def _listen(self, keyboard: int) -> bool:
        """Wait for a key or for news, a tick at most. False: it is to end."""
        ready, _, _ = select.select([keyboard], [], [], TICK) if keyboard >= 0 else ([], [], [])
        if ready:
            pressed = os.read(keyboard, 64).decode(errors="replace")
            if not pressed or "q" in pressed:
                return False
            self._sort = next((KEYS[key] for key in reversed(pressed) if key in KEYS), self._sort)
        with suppress(queue.Empty):
            if keyboard < 0:
                self._take(self._news.get(timeout=TICK))
            while True:
                self._take(self._news.get_nowait())
        return True

    def _take(self, news: News) -> None:
        if isinstance(news, Now):
            self._now, self._trouble = news, ""
        elif isinstance(news, PlatformStatus):
            self._status = news
        elif self._now is None or isinstance(news, Denied):
            raise news
        else:
            self._trouble = str(news)

    # ── asking ──

    def _follow(self) -> None:
        while not self._over.is_set():
            try:
                for now in self._client.follow_now(self._limit):
                    if self._over.is_set():
                        return
                    self._news.put(now)
                self._news.put(SdkError("the view has ended"))
            except Exception as error:  # whatever it is, it is the main thread's to judge
                self._news.put(error)
            self._over.wait(AGAIN)

    def _look(self) -> None:
        while not self._over.is_set():
            with suppress(Exception):  # what matters of it, the view itself meets, too
                self._news.put(self._client.status())
            self._over.wait(STATUS)


@contextmanager
def _keys() -> Iterator[int]:
    """The keyboard, a key at a time and unseen; -1: there is none."""
    if not sys.stdin.isatty():
        yield -1
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
