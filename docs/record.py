"""Makes docs/lab.svg: runs a command on a terminal of its own and writes what it printed, when it printed it, as an animated picture.

    python docs/record.py docs/lab.svg -- podvitals lab --once

Nothing is retyped or edited: the lines are the program's, and so are the pauses between them (those longer than 2.5 s are cut to that).
"""

import os
import pty
import re
import select
import sys
import time
from collections.abc import Iterator
from xml.sax.saxutils import escape

COLUMNS, LINE, CHAR, MARGIN = 128, 17, 7.8, 16
LONGEST_PAUSE, LAST_LOOK = 2.5, 12.0
COLOURS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "34": "#79c0ff", "35": "#d2a8ff", "36": "#76e3ea", "90": "#8b949e"}
ESCAPE = re.compile(r"\x1b\[([0-9;]*)m|\x1b\[[0-9;?]*[A-Za-z]")


def recorded(command: list[str]) -> list[tuple[float, str]]:
    """(seconds since the start, line) of everything `command` prints, as a terminal of COLUMNS columns gets it."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES="50")
        os.execvp(command[0], command)
    began, rest, lines = time.monotonic(), "", []
    while select.select([terminal], [], [], 120)[0]:
        try:
            data = os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # how Linux says that the other side of a terminal is closed
            break
        if not data:
            break
        rest += data.replace("\r\n", "\n")
        *whole, rest = rest.split("\n")
        lines += [(time.monotonic() - began, line) for line in whole]
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}: nothing recorded")
    return lines


def paced(lines: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """The same with long pauses cut."""
    at, before, out = 0.0, 0.0, []
    for moment, line in lines:
        at += min(moment - before, LONGEST_PAUSE)
        before = moment
        out.append((at, line))
    return out


def spans(line: str) -> Iterator[str]:
    """A line with its colours as SVG text spans."""
    style: dict[str, str] = {}
    position = 0
    for found in [*ESCAPE.finditer(line), None]:
        text = line[position : found.start() if found else len(line)]
        if text:
            attributes = "".join(f' {name}="{value}"' for name, value in style.items())
            yield f"<tspan{attributes}>{escape(text)}</tspan>"
        if found is None:
            return
        position = found.end()
        for code in (found.group(1) or "0").split(";") if found.group(1) is not None else []:
            if code in ("", "0"):
                style = {}
            elif code == "1":
                style["font-weight"] = "bold"
            elif code == "2":
                style["opacity"] = "0.65"
            elif code in COLOURS:
                style["fill"] = COLOURS[code]


def picture(lines: list[tuple[float, str]]) -> str:
    """The SVG: every line appears at its moment, all stay, and it begins anew."""
    length = lines[-1][0] + LAST_LOOK
    width, height = COLUMNS * CHAR + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    rows, frames = [], []
    for number, (moment, line) in enumerate(lines):
        share = 100 * moment / length
        frames.append(f"@keyframes l{number}{{0%,{max(share - 0.01, 0):.2f}%{{opacity:0}}{share:.2f}%,100%{{opacity:1}}}}")
        y = MARGIN + LINE * (number + 0.8)
        rows.append(f'<text x="{MARGIN}" y="{y:.1f}" style="animation:l{number} {length:.1f}s infinite">{"".join(spans(line))}</text>')
    style = "text{font:13px ui-monospace,SFMono-Regular,Menlo,DejaVu Sans Mono,monospace;fill:#e6edf3;white-space:pre}"
    # Who asked for less motion sees the whole output at once.
    still = "@media (prefers-reduced-motion:reduce){text{animation:none!important}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width:.0f} {height:.0f}" role="img"'
        ' aria-label="a terminal recording">'
        f"<style>{style}{''.join(frames)}{still}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/>{"".join(rows)}</svg>\n'
    )


if __name__ == "__main__":
    target, dashes, *command = sys.argv[1:] or ["", ""]
    if dashes != "--" or not command:
        sys.exit(__doc__)
    with open(target, "w", encoding="utf-8") as file:
        file.write(picture(paced(recorded(command))))
