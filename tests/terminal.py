"""A person at a terminal: runs a program on one of its own, types, and waits for what it shows.

    terminal.py PROGRAM ARGUMENT... < script

Lines of the script: `type TEXT` (and Enter), `press KEY` (a letter with Ctrl, or `up`), `wait TEXT` (shown since the last wait), `prompt` (for the shell's), `rest` (a second), `end` (with what code).
Prints all that was shown. Ends with 1 when something does not come within half a minute.
"""

import os
import pty
import select
import signal
import sys
import time

PATIENCE = 30.0


def ended(child, until):
    """With what code; None when it goes on."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            return None
        time.sleep(0.01)


def main():
    script = [line.rstrip("\n") for line in sys.stdin]
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        os.execvp(sys.argv[1], sys.argv[1:])
    shown, seen = "", 0
    until = time.monotonic() + PATIENCE

    def more():
        """Whatever comes next; False at the end."""
        nonlocal shown
        ready, _, _ = select.select([terminal], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            return False
        shown += piece.decode("utf-8", "replace")
        return bool(piece)

    for line in script:
        what, _, rest = line.partition(" ")
        until = time.monotonic() + PATIENCE
        if what == "type":
            os.write(terminal, rest.encode() + b"\r")
        elif what == "press":
            key = b"\x1b[A" if rest == "up" else bytes([ord(rest) & 0x1F])
            os.write(terminal, key)
        elif what == "rest":
            time.sleep(1.0)
        elif what in ("wait", "prompt"):
            # A prompt is drawn anew with each key: one that waits begins a line.
            rest = "\n\rsyncline> " if what == "prompt" else rest
            while rest not in shown[seen:]:
                if not more():
                    sys.exit(f"{rest!r} does not come after {shown[seen:]!r}; before: {shown[:seen]!r}")
            seen = shown.index(rest, seen) + len(rest)
        elif what == "end":
            while more():
                pass
            code = ended(child, until)
            if str(code) != rest:
                sys.exit(f"ended with {code}: {shown!r}")
    print(shown)


main()
