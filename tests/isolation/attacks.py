"""Programs that attack the process they run in; each returns what it got, an empty string is nothing.

``STOPPED_BY_KERNEL`` must come to nothing behind the strict layers even when nothing checks the
language; each of them does succeed in an unprotected process, which a test shows.
"""

from __future__ import annotations

STOPPED_BY_KERNEL = {
    "read a file": "def attack():\n    return open('/etc/passwd').read(20)\n",
    "read itself": "def attack():\n    return open('/proc/self/maps').read(20)\n",
    "list the root": "import os\ndef attack():\n    return os.listdir('/')[:3]\n",
    "write a file": (
        "import os, tempfile\ndef attack():\n"
        "    fd, name = tempfile.mkstemp()\n    os.unlink(name)\n    return name\n"
    ),
    "make a folder": "import os\ndef attack():\n    os.mkdir('/tmp/x%d' % os.getpid())\n"
    "    os.rmdir('/tmp/x%d' % os.getpid())\n    return 'made'\n",
    "open a socket": "import socket\ndef attack():\n    return socket.socket().fileno()\n",
    "open a unix socket": "import socket\ndef attack():\n    return socket.socketpair()[0].fileno()\n",
    "resolve a name": "import socket\ndef attack():\n    return socket.gethostbyname('localhost')\n",
    "bind a port": (
        "import socket\ndef attack():\n    s = socket.socket()\n    s.bind(('127.0.0.1', 0))\n"
        "    return s.getsockname()\n"
    ),
    "fork": (
        "import os\ndef attack():\n    pid = os.fork()\n    if pid == 0:\n        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n    return 'forked'\n"
    ),
    "start a thread": (
        "import threading\ndef attack():\n    t = threading.Thread(target=int)\n    t.start()\n"
        "    return 'thread'\n"
    ),
    "run a program": (
        "import os\ndef attack():\n    pid = os.posix_spawn('/bin/true', ['true'], {})\n"
        "    os.waitpid(pid, 0)\n    return 'ran'\n"
    ),
    "run a shell": "import os\ndef attack():\n    return 'ran' if os.system('true') == 0 else ''\n",
    "signal the parent": "import os\ndef attack():\n    os.kill(os.getppid(), 0)\n    return 'may'\n",
    "signal itself": "import os, signal\ndef attack():\n    os.kill(os.getpid(), 0)\n    return 'may'\n",
    "ignore a signal": (
        "import signal\ndef attack():\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    return 'deaf'\n"
    ),
    "wait forever for input": "import os\ndef attack():\n    r, w = os.pipe()\n    return 'pipe %d' % r\n",
    "duplicate its descriptor": "import os\ndef attack():\n    return 'dup %d' % os.dup(FD)\n",
    "raise its limits": (
        "import resource\ndef attack():\n"
        "    resource.setrlimit(resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU))\n"
        "    return 'set'\n"
    ),
    "be nice": "import os\ndef attack():\n    return 'nice %d' % os.nice(1)\n",
    "open through ctypes": (
        "import ctypes\ndef attack():\n    fd = ctypes.CDLL(None).open(b'/etc/passwd', 0)\n"
        "    return 'fd %d' % fd if fd >= 0 else ''\n"
    ),
    "map executable memory": (
        "import mmap\ndef attack():\n    m = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)\n"
        "    return 'mapped %d' % len(m)\n"
    ),
    "make memory executable": (
        "import ctypes, mmap\ndef attack():\n    m = mmap.mmap(-1, 4096)\n"
        "    a = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
        "    return 'exec' if ctypes.CDLL(None).mprotect(ctypes.c_void_p(a), 4096, 5) == 0 else ''\n"
    ),
    "become root again": (
        "import os\ndef attack():\n    os.setuid(os.getuid())\n    return 'uid'\n"
    ),
    "read another process": (
        "import ctypes, os\ndef attack():\n"
        "    r = ctypes.CDLL(None).syscall(434, os.getpid(), 0)\n    return 'pidfd' if r >= 0 else ''\n"
    ),
    "make a namespace": (
        "import ctypes\ndef attack():\n    return 'ns' if ctypes.CDLL(None).unshare(0) == 0 else ''\n"
    ),
    "know its name": "import os\ndef attack():\n    return os.uname().nodename\n",
    "make a keyring": (
        "import ctypes\ndef attack():\n"
        "    r = ctypes.CDLL(None).syscall(250, 0, -2, 0)\n    return 'key' if r >= 0 else ''\n"
    ),
    "share memory": (
        "import ctypes\ndef attack():\n    r = ctypes.CDLL(None).syscall(319, b'x', 0)\n"
        "    return 'memfd' if r >= 0 else ''\n"
    ),
    "use io_uring": (
        "import ctypes\ndef attack():\n    b = ctypes.create_string_buffer(256)\n"
        "    r = ctypes.CDLL(None, use_errno=True).syscall(425, 4, b)\n"
        "    return 'ring' if r >= 0 or ctypes.get_errno() not in (1, 38) else ''\n"
    ),
}

#: These end the fork or outlast its deadline, whatever the layers; the host must say which.
STOPPED_BY_LIMITS = {
    "leave": ("import os\ndef attack():\n    os._exit(0)\n", "died"),
    "crash": ("import ctypes\ndef attack():\n    return ctypes.string_at(0)\n", "died"),
    "loop for ever": ("def attack():\n    while True:\n        pass\n", "timeout"),
    "swallow everything": (
        "def attack():\n    while 1:\n        try:\n            attack()\n        except BaseException:\n            0\n",
        "timeout",
    ),
    "square a whole number": (
        "def attack():\n    x = 10\n    for _ in range(40):\n        x *= x\n    return 'done'\n",
        "timeout",
    ),
    "match a hostile pattern": (
        "import re\ndef attack():\n    return re.match('(a+)+$', 'a' * 64 + 'b')\n",
        "timeout",
    ),
}

MEMORY = "def attack():\n    return 'got %d' % len(bytearray(2 << 30))\n"

#: Past the checker these would work; the checker is what stops them.
STOPPED_BY_LANGUAGE = {
    "import a module": "import os\ndef score(inflight):\n    return os.getpid() * 1.0\n",
    "import from": "from os import getpid\ndef score(inflight):\n    return getpid() * 1.0\n",
    "dynamic import": "def score(inflight):\n    return __import__('os').getpid() * 1.0\n",
    "open a file": "def score(inflight):\n    open('/etc/passwd')\n    return 0.0\n",
    "climb to object": "def score(inflight):\n    return len(().__class__.__bases__) * 1.0\n",
    "getattr with pieces": "def score(inflight):\n    return getattr(inflight, '_' + '_class_' + '_')\n",
    "format leak": "def score(inflight):\n    return len('{0.real}'.format(inflight)) * 1.0\n",
    "look at frames": "import sys\ndef score(inflight):\n    return sys._getframe(1).f_locals['best']\n",
    "generator frame": "def score(inflight):\n    g = (x for x in (1,))\n    return g.gi_frame.f_lineno\n",
    "traceback frame": (
        "def score(inflight):\n    try:\n        1 / 0\n    except Exception as e:\n"
        "        return e.tb_frame.f_lineno\n    return 0.0\n"
    ),
    "collect objects": "import gc\ndef score(inflight):\n    return len(gc.get_objects()) * 1.0\n",
    "always the best object": (
        "class Best:\n    def __lt__(self, other):\n        return True\n"
        "def score(inflight):\n    return Best()\n"
    ),
    "patch a module": "import math\nmath.exp = None\ndef score(inflight):\n    return 0.0\n",
    "evaluate text": "def score(inflight):\n    return eval('1.0')\n",
    "remember between calls": (
        "seen = []\ndef score(inflight):\n    seen.append(inflight)\n    return len(seen) * 1.0\n"
    ),
    "count with a global": (
        "n = 0\ndef score(inflight):\n    global n\n    n = n + 1\n    return n * 1.0\n"
    ),
    "default that remembers": (
        "def score(inflight, seen=[]):\n    seen.append(1)\n    return len(seen) * 1.0\n"
    ),
    "ask for what is not there": "def score(inflight, latency_ms):\n    return latency_ms\n",
    "call itself": "def score(inflight):\n    return score(inflight)\n",
    "mutate its input": "def score(inflight):\n    inflight.value = 0\n    return 0.0\n",
    "use an object's identity": "def score(inflight):\n    return id(inflight) * 1.0\n",
    "use a hash": "def score(inflight):\n    return hash('a') * 1.0\n",
    "ask the time": "import time\ndef score(inflight):\n    return time.time()\n",
    "be random": "import random\ndef score(inflight):\n    return random.random()\n",
    "exit": "def score(inflight):\n    raise SystemExit\n",
    "print a result": "def score(inflight):\n    print('score 1.0')\n    return 0.0\n",
    "infinite constant": "def score(inflight):\n    return 1e999\n",
    "huge whole number": "def score(inflight):\n    return " + "9" * 400 + "\n",
    "deep nesting": "def score(inflight):\n    return " + "-" * 50_000 + "inflight\n",
    "decorate": "@print\ndef score(inflight):\n    return 0.0\n",
    "work at import": "while True:\n    pass\ndef score(inflight):\n    return 0.0\n",
}
