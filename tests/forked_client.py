"""A program that a shell starts instead of Python. It runs the command through tests/forked.py.

    python -ISE tests/forked_client.py ADDRESS -m consistent_chat build demo

It passes on its arguments, environment, working directory, streams and signals, and ends as the other process ends.
It imports little, so it starts in 0.02 s.
"""

import json
import os
import signal
import socket
import sys

command, here = [sys.executable, *sys.argv[2:]], os.getcwd()
with socket.socket(socket.AF_UNIX) as asking:
    asking.connect(sys.argv[1])
    message = json.dumps({"command": command, "env": dict(os.environ), "cwd": here}).encode()
    sent = socket.send_fds(asking, [message], [0, 1, 2])
    asking.sendall(message[sent:])
    asking.shutdown(socket.SHUT_WR)
    told = asking.makefile()
    pid = int(told.readline())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = int(told.readline())
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
