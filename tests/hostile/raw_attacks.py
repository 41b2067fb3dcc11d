"""Programs past the language check, in a locked fork; ``attack()`` returns what it got, or nothing.

``also`` names the layers of which each, alone, stops it too where a machine is started as root.
"""

from __future__ import annotations

from .attack import Attack

_FILES = {
    "read a file": "def attack():\n    return open('/etc/passwd').read(20)\n",
    "read itself": "def attack():\n    return open('/proc/self/maps').read(20)\n",
    "read the parent's memory": (
        "import os\ndef attack():\n    return str(open('/proc/%d/mem' % os.getppid(), 'rb'))\n"
    ),
    "read the parent's variables": (
        "import os\ndef attack():\n"
        "    return open('/proc/%d/environ' % os.getppid(), 'rb').read(9).hex()\n"
    ),
    "list the root": "import os\ndef attack():\n    return os.listdir('/')[:3]\n",
    "look at a file": "import os\ndef attack():\n    return os.stat('/etc/passwd').st_size\n",
    "write a file": (
        "import os, time\ndef attack():\n    name = '/tmp/gnomon-%d-%d' % (os.getpid(), time.time_ns())\n"
        "    with open(name, 'w') as file:\n        file.write('x')\n    os.unlink(name)\n    return name\n"
    ),
    "make a folder": (
        "import os\ndef attack():\n    name = '/tmp/gnomon-%d' % os.getpid()\n    os.mkdir(name)\n"
        "    os.rmdir(name)\n    return 'made'\n"
    ),
    "make a link": (
        "import os\ndef attack():\n    name = '/tmp/gnomon-%d' % os.getpid()\n"
        "    os.symlink('/etc/passwd', name)\n    os.unlink(name)\n    return 'link'\n"
    ),
    "open through ctypes": (
        "import ctypes\ndef attack():\n    fd = ctypes.CDLL(None).open(b'/etc/passwd', 0)\n"
        "    return 'fd %d' % fd if fd >= 0 else ''\n"
    ),
    "look up a folder": "import os\ndef attack():\n    return os.getcwd()\n",
}

_NETWORK = {
    "open a socket": "import socket\ndef attack():\n    return socket.socket().fileno()\n",
    "open a unix socket": "import socket\ndef attack():\n    return socket.socketpair()[0].fileno()\n",
    "bind a port": (
        "import socket\ndef attack():\n    s = socket.socket()\n    s.bind(('127.0.0.1', 0))\n"
        "    return s.getsockname()\n"
    ),
    "send a datagram": (
        "import socket\ndef attack():\n    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    return 'sent %d' % s.sendto(b'x', ('127.0.0.1', 9))\n"
    ),
    "hand on its descriptor": (
        "import socket\ndef attack():\n    s = socket.socket(fileno=FD)\n"
        "    kind = s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)\n    s.detach()\n    return 'sock %d' % kind\n"
    ),
}

_PROCESSES = {
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
    "become a program": (
        "import os\ndef attack():\n    fd = os.memfd_create('x')\n    return 'memory file %d' % fd\n"
    ),
    "run a shell": "import os\ndef attack():\n    return 'ran' if os.system('true') == 0 else ''\n",
    "signal the parent": "import os\ndef attack():\n    os.kill(os.getppid(), 0)\n    return 'may'\n",
    "signal everybody": "import os\ndef attack():\n    os.kill(-1, 0)\n    return 'may'\n",
    "signal itself": "import os\ndef attack():\n    os.kill(os.getpid(), 0)\n    return 'may'\n",
    "ignore a signal": (
        "import signal\ndef attack():\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    return 'deaf'\n"
    ),
    "block all signals": (
        "import signal\ndef attack():\n    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n"
        "    return 'deaf'\n"
    ),
    "set an alarm": (
        "import signal\ndef attack():\n    signal.setitimer(signal.ITIMER_REAL, 9)\n    return 'alarm'\n"
    ),
    "sleep": "import time\ndef attack():\n    time.sleep(0.001)\n    return 'slept'\n",
    "hold another process": (
        "import ctypes, os\ndef attack():\n"
        "    r = ctypes.CDLL(None).syscall(434, os.getppid(), 0)\n    return 'pidfd' if r >= 0 else ''\n"
    ),
    "take part in another session": "import os\ndef attack():\n    return 'group %d' % os.getpgid(0)\n",
    "pin itself": "import os\ndef attack():\n    return str(os.sched_getaffinity(0))\n",
    "be nice": "import os\ndef attack():\n    return 'nice %d' % os.nice(1)\n",
    "raise its limits": (
        "import resource\ndef attack():\n"
        "    resource.setrlimit(resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU))\n"
        "    return 'set'\n"
    ),
}

_DESCRIPTORS = {
    "wait for ever for input": "import os\ndef attack():\n    r, w = os.pipe()\n    return 'pipe %d' % r\n",
    "duplicate its descriptor": "import os\ndef attack():\n    return 'dup %d' % os.dup(FD)\n",
    "read the standard input": "import os\ndef attack():\n    os.read(0, 1)\n    return 'read'\n",
    "write on the standard output": "import os\ndef attack():\n    return 'wrote %d' % os.write(1, b'x')\n",
    "watch many at once": "import select\ndef attack():\n    return 'epoll %d' % select.epoll().fileno()\n",
    "make an event": (
        "import ctypes\ndef attack():\n    r = ctypes.CDLL(None).syscall(290, 0, 0)\n"
        "    return 'event' if r >= 0 else ''\n"
    ),
}

_KERNEL = {
    "map executable memory": (
        "import mmap\ndef attack():\n    m = mmap.mmap(-1, 4096, flags=34, prot=mmap.PROT_READ | mmap.PROT_EXEC)\n"
        "    return 'mapped %d' % len(m)\n"
    ),
    "make memory executable": (
        "import ctypes, mmap\ndef attack():\n    m = mmap.mmap(-1, 4096, flags=34)\n"
        "    a = ctypes.addressof(ctypes.c_char.from_buffer(m))\n"
        "    return 'exec' if ctypes.CDLL(None).mprotect(ctypes.c_void_p(a), 4096, 5) == 0 else ''\n"
    ),
    "become root again": "import os\ndef attack():\n    os.setuid(os.getuid())\n    return 'uid'\n",
    "change the root": (
        "import ctypes\ndef attack():\n    return 'root' if ctypes.CDLL(None).chroot(b'/') == 0 else ''\n"
    ),
    "make a namespace": (
        "import ctypes\ndef attack():\n    return 'ns' if ctypes.CDLL(None).unshare(0) == 0 else ''\n"
    ),
    "know its machine": "import os\ndef attack():\n    return os.uname().nodename\n",
    "know its load": "import os\ndef attack():\n    return str(os.getloadavg())\n",
    "ask for randomness": "import os\ndef attack():\n    return os.urandom(4).hex()\n",
    "make a keyring": (
        "import ctypes\ndef attack():\n"
        "    r = ctypes.CDLL(None).syscall(250, 0, -2, 0)\n    return 'key' if r >= 0 else ''\n"
    ),
    "use io_uring": (
        "import ctypes\ndef attack():\n    b = ctypes.create_string_buffer(256)\n"
        "    r = ctypes.CDLL(None, use_errno=True).syscall(425, 4, b)\n"
        "    return 'ring' if r >= 0 or ctypes.get_errno() not in (1, 38) else ''\n"
    ),
    "load a filter of its own": (
        "import ctypes\ndef attack():\n"
        "    return 'prctl' if ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) >= 0 else ''\n"
    ),
    "change its name": (
        "import ctypes\ndef attack():\n"
        "    return 'named' if ctypes.CDLL(None).prctl(15, b'init', 0, 0, 0) == 0 else ''\n"
    ),
    "change its personality": (
        "import ctypes\ndef attack():\n"
        "    r = ctypes.CDLL(None).personality(0xFFFFFFFF)\n    return 'persona' if r >= 0 else ''\n"
    ),
    "lock memory": (
        "import ctypes\ndef attack():\n    b = ctypes.create_string_buffer(4096)\n"
        "    return 'locked' if ctypes.CDLL(None).mlock(b, 4096) == 0 else ''\n"
    ),
}

#: In mode ``process`` too something else may refuse these, so that they prove nothing there.
REFUSED_ANYWAY = frozenset({"make a keyring", "use io_uring", "write a file", "lock memory"})
#: A limit that binds everybody but root.
NPROC = frozenset({"fork", "start a thread", "run a program", "run a shell"})

#: Layers besides seccomp that stop an attack, each alone.
_ALSO: dict[str, tuple[str, ...]] = {
    "read a file": ("landlock", "chroot"),
    "read itself": ("landlock", "chroot"),
    "read the parent's memory": ("landlock", "chroot", "uid", "capabilities"),
    "read the parent's variables": ("landlock", "chroot", "uid", "capabilities"),
    "list the root": ("landlock",),
    "look at a file": ("chroot",),
    "write a file": ("landlock", "chroot", "rlimits"),
    "make a folder": ("landlock", "chroot"),
    "make a link": ("landlock", "chroot"),
    "open through ctypes": ("landlock", "chroot"),
    "bind a port": ("landlock",),
    "send a datagram": ("namespaces",),
    "run a program": ("landlock", "chroot"),
    "run a shell": ("landlock", "chroot"),
    "signal the parent": ("landlock", "uid"),
    "change the root": ("uid", "capabilities"),
}

KERNEL: tuple[Attack, ...] = tuple(
    Attack(name, "raw", aims, source, "seccomp", _ALSO.get(name, ()))
    for aims, sources in (
        ("files", _FILES),
        ("network", _NETWORK),
        ("processes, signals", _PROCESSES),
        ("descriptors", _DESCRIPTORS),
        ("rights, the kernel", _KERNEL),
    )
    for name, source in sources.items()
)

_NOTHING_THERE = {
    "read a key from the environment": (
        "import os\ndef attack():\n    return os.environ.get('GNOMON_HOSTILE_SECRET', '')\n",
        "environment",
    ),
    "find another's descriptors": (
        (
            "import os\ndef attack():\n    found = []\n    for fd in range(3, 200):\n        try:\n"
            "            if fd != FD: os.lseek(fd, 0, 1); found.append(fd)\n"
            "        except OSError as error:\n            if error.errno not in (1, 9): found.append(fd)\n"
            "    return str(found) if found else ''\n"
        ),
        "descriptors",
    ),
    "find a secret in memory": (
        (
            "import gc\ndef attack():\n    seen = [o for o in gc.get_objects() if type(o) is dict]\n"
            "    found = [k for o in seen for k in o if type(k) is str and k.startswith('HOSTILE_SEC' 'RET')]\n"
            "    return ''.join(found)\n"
        ),
        "process",
    ),
    "find the trace in memory": (
        (
            "import gc\ndef attack():\n"
            "    names = {type(o).__name__ for o in gc.get_objects()}\n"
            "    return ' '.join(names & {'DecisionTrace', 'Ledger', 'Calibration'})\n"
        ),
        "process",
    ),
    "patch what the next one uses": (
        (
            "import math, builtins\ndef attack():\n    patched = math.exp is None\n    math.exp = None\n"
            "    builtins.min = max\n    return 'it was patched' if patched else ''\n"
        ),
        "process",
    ),
}

NOTHING_THERE: tuple[Attack, ...] = tuple(
    Attack(name, "raw", "keys, the future, the next candidate", source, layer)
    for name, (source, layer) in _NOTHING_THERE.items()
)

_ENDINGS = {
    "leave at once": ("import os\ndef attack():\n    os._exit(0)\n", "process"),
    "crash": ("import ctypes\ndef attack():\n    return ctypes.string_at(0)\n", "process"),
    "abort": ("import os\ndef attack():\n    os.abort()\n", "process"),
    "close its connection": (
        "import os\ndef attack():\n    os.close(FD)\n    return 'closed'\n",
        "process",
    ),
    "use the other system call table": (
        (
            "import ctypes\ndef attack():\n"
            "    return 'x32' if ctypes.CDLL(None).syscall(0x40000000 | 39) >= 0 else ''\n"
        ),
        "seccomp",
    ),
    "recurse without end": (
        (
            "import sys\ndef attack():\n    sys.setrecursionlimit(10 ** 9)\n"
            "    def f(x):\n        return [*map(f, [x])]\n    return f(1)\n"
        ),
        "process",
    ),
    "loop for ever": ("def attack():\n    while True:\n        pass\n", "deadline"),
    "swallow everything": (
        (
            "def attack():\n    while 1:\n        try:\n            attack()\n"
            "        except BaseException:\n            0\n"
        ),
        "deadline",
    ),
    "square a number in one call": (
        "def attack():\n    x = 10\n    for _ in range(40):\n        x *= x\n    return 'done'\n",
        "deadline",
    ),
    "match a pattern in one call": (
        "import re\ndef attack():\n    return re.match('(a+)+$', 'a' * 64 + 'b')\n",
        "deadline",
    ),
    "take two gigabytes": (
        "def attack():\n    return 'got %d' % len(bytearray(2 << 30))\n",
        "rlimits",
    ),
    "take memory in pieces": (
        (
            "def attack():\n    kept = []\n    while len(kept) < 1 << 12:\n"
            "        kept.append(bytearray(1 << 24))\n    return 'got it'\n"
        ),
        "rlimits",
    ),
}

#: These end the fork or outlast its deadline.
ENDINGS: tuple[Attack, ...] = tuple(
    Attack(name, "raw", "the host's time and memory", source, layer)
    for name, (source, layer) in _ENDINGS.items()
)

RAW: tuple[Attack, ...] = (*KERNEL, *NOTHING_THERE, *ENDINGS)
