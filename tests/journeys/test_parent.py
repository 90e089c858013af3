"""No process of ours outlives the supervisor, however early it was killed."""

import os
import signal
import subprocess
import sys

CHILD = "import sys, time; from sampan.serve.privileges import die_with_parent as die; die(int(sys.argv[1]))"


def test_a_process_whose_parent_ended_before_it_could_ask_for_the_signal_ends() -> None:
    orphan = subprocess.run([sys.executable, "-c", f"{CHILD}; time.sleep(60)", "1"], check=False, timeout=30)
    assert orphan.returncode == -signal.SIGTERM


def test_a_process_whose_parent_lives_goes_on() -> None:
    child = subprocess.run([sys.executable, "-c", CHILD, str(os.getpid())], check=False, timeout=30)
    assert child.returncode == 0
