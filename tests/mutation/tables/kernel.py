"""Guards of the process around what is not trusted: system calls, limits, environment."""

from __future__ import annotations

from .rows import ALONE, RAW, within

KERNEL = (
    *within(
        "sdk/isolation/seccomp.py",
        RAW,
        (
            "what is not listed fails",
            "return [*code, (_RETURN, 0, 0, _EPERM)]",
            "return [*code, (_RETURN, 0, 0, _ALLOW)]",
            "sleep",
        ),
        (
            "the other call table kills",
            "        (_AT_LEAST, 0, 1, _X32),\n        (_RETURN, 0, 0, _KILL),\n",
            "        (_AT_LEAST, 0, 1, _X32),\n        (_RETURN, 0, 0, _ALLOW),\n",
            "tests/isolation/test_kernel_layers.py",
        ),
        (
            "a foreign architecture kills",
            "        (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),\n        (_RETURN, 0, 0, _KILL),",
            "        (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),\n        (_RETURN, 0, 0, _ALLOW),",
            "tests/hostile/test_seal.py",
        ),
        (
            "one descriptor is read",
            "    code += _only_if(_READ, _one_of(0, (descriptor,)))",
            "    code += _only_if(_READ)",
            "read the standard input",
        ),
        (
            "one descriptor is written",
            "    code += _only_if(_WRITE, _one_of(0, (descriptor,)))",
            "    code += _only_if(_WRITE)",
            "write on the standard output",
        ),
        (
            "new memory is not executable",
            "    code += _only_if(_MMAP, _without(3, _UNUSUAL_MEMORY), *executable)",
            "    code += _only_if(_MMAP)",
            "map executable memory",
        ),
        (
            "memory does not become executable",
            "    code += _only_if(_MPROTECT, *executable)",
            "    code += _only_if(_MPROTECT)",
            "make memory executable",
        ),
        (
            "a filter is put in force",
            "    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0):",
            "    if False:",
            "ask for randomness",
        ),
    ),
    *within(
        "sdk/isolation/lockdown.py",
        ALONE,
        (
            "memory is limited",
            "        resource.RLIMIT_AS: memory + (limits.memory_mb << 20),",
            "        resource.RLIMIT_AS: 1 << 45,",
            RAW.format("take two gigabytes"),
        ),
        (
            "no file grows",
            "        resource.RLIMIT_FSIZE: 0,",
            "        resource.RLIMIT_FSIZE: 1 << 20,",
            "write a file",
        ),
        (
            "an empty root",
            "        os.chroot(root)\n",
            "",
            "look at a file",
        ),
        (
            "the user is nobody",
            "        os.setresuid(_NOBODY, _NOBODY, _NOBODY)\n",
            "",
            "signal the parent",
        ),
        (
            "no network of the machine's",
            "return os.geteuid() == 0 and library.unshare(flags) == 0",
            "return os.geteuid() == 0",
            "send a datagram",
        ),
        (
            "no rights",
            "    return bool(library.capset(_OWN_CAPABILITIES, _NO_CAPABILITIES) == 0)",
            "    return True",
            "change the root",
        ),
        (
            "Landlock is in force",
            "    held = library.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0\n",
            "    held = True\n",
            "list the root",
        ),
        (
            "no new privileges",
            "    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):",
            "    if False:",
            RAW.format("sleep"),
        ),
        (
            "descriptors are closed",
            "    os.closerange(3, descriptor)\n    os.closerange(descriptor + 1, _MOST_DESCRIPTORS)\n",
            "",
            "tests/isolation/test_kernel_layers.py",
        ),
        (
            "a fork dies with its clean process",
            "    if library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):",
            "    if False:",
            "tests/isolation/test_lifetimes.py",
        ),
        (
            "the compiled fork is sealed",
            '    if cell.mode == "strict":\n        seccomp.install(libc(), descriptor)',
            '    if cell.mode == "never":\n        seccomp.install(libc(), descriptor)',
            "tests/hostile/test_seal.py",
        ),
        (
            "strict needs its layers",
            'return tuple(layer for layer in STRICT_NEEDS if mode == "strict" and layer not in held)',
            "return ()",
            "tests/hostile/test_seal.py",
        ),
    ),
    *within(
        "sdk/isolation/zygote.py",
        RAW,
        (
            "the environment is its own",
            "                env=fixed | environment,",
            "                env=dict(os.environ) | fixed | environment,",
            "read a key from the environment",
        ),
    ),
)
